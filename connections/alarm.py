"""One timer for a wait whose end keeps moving: it is set anew only when it would ring too late."""

import asyncio
from collections.abc import Callable
from math import inf

CLOCK_STEP = 0.002
"""Seconds that a timer of the event loop may be early."""


class Alarm:
    """Calls `ring` when the moment has come that `due` tells by then, on the loop's clock."""

    __slots__ = ("_due", "_loop", "_ring", "_rings_at", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Callable[[], float], ring: Callable[[], None]) -> None:
        self._loop, self._due, self._ring = loop, due, ring
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = inf

    def look_at(self, when: float) -> None:
        """What is due has changed to this. Only an earlier moment costs a new timer."""
        if when < self._rings_at:
            self.stop()
            self._rings_at, self._timer = when, self._loop.call_at(when, self._rung)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._rings_at, self._timer = inf, None

    def _rung(self) -> None:
        self._rings_at, self._timer = inf, None
        due = self._due()
        if due > self._loop.time() + CLOCK_STEP:
            self.look_at(due)
        else:
            self._ring()
