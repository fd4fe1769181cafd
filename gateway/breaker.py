"""Leave an upstream alone for a while when it only fails, then let one call find out whether it is back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

IN_A_ROW = 5
"""Failures after which it opens."""
LEAST, SHARE = 20, 0.5
"""It also opens when this share of the last `WINDOW` seconds' calls failed, if they were at least so many."""
WINDOW, SLICES = 30.0, 10
"""The window moves on in slices, so that it costs the same at any rate of calls."""
PAUSE, LONGEST_PAUSE = 30.0, 300.0
"""Seconds that it stays open at first; doubled each time the probe fails."""
PROBING = 1.0
"""Seconds after which to ask again while the probe is under way."""

Clock = Callable[[], float]


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


@dataclass(slots=True)
class Slice:
    """What ended within a few seconds."""

    number: int = -1
    calls: int = 0
    failures: int = 0


@dataclass(slots=True)
class Breaker:
    """Of one upstream model. `start` before each call, `end` after it with what `start` gave."""

    clock: Clock = time.monotonic
    state: State = State.CLOSED
    _ticket: int = 0
    """Moves with the state: a call that began before the last change has no say in the next one."""
    _in_a_row: int = 0
    _pause: float = PAUSE
    _until: float = 0.0
    _slices: list[Slice] = field(default_factory=lambda: [Slice() for _ in range(SLICES)])

    def wait(self) -> float:
        """Seconds until a call may be made; 0: now."""
        if self.state is State.CLOSED:
            return 0.0
        return PROBING if self.state is State.PROBING else max(0.0, self._until - self.clock())

    def start(self) -> int | None:
        """A ticket for one call; None: it may not be made. After the pause, the first to ask is the probe."""
        if self.state is State.CLOSED:
            return self._ticket
        if self.wait() > 0:
            return None
        self._move(State.PROBING)
        return self._ticket

    def end(self, ticket: int, worked: bool | None) -> None:
        """How the call ended; None: in a way that says nothing about the upstream."""
        if ticket != self._ticket:
            return
        if self.state is State.PROBING:
            self._end_probe(worked)
        elif worked is not None:
            self._count(worked)

    def _end_probe(self, worked: bool | None) -> None:
        if worked is None:
            self._move(State.OPEN)  # due at once: the next call is the probe
        elif worked:
            self._pause = PAUSE
            self._move(State.CLOSED)
        else:
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self._open()

    def _count(self, worked: bool) -> None:
        number = int(self.clock() / (WINDOW / SLICES))
        current = self._slices[number % SLICES]
        if current.number != number:
            current.number, current.calls, current.failures = number, 0, 0
        current.calls += 1
        if worked:
            self._in_a_row = 0
            return
        current.failures += 1
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW or self._mostly_fails(number):
            self._open()

    def _mostly_fails(self, now: int) -> bool:
        recent = [one for one in self._slices if one.number > now - SLICES]
        calls = sum(one.calls for one in recent)
        return calls >= LEAST and sum(one.failures for one in recent) >= SHARE * calls

    def _open(self) -> None:
        self._until = self.clock() + self._pause
        self._move(State.OPEN)

    def _move(self, state: State) -> None:
        """Whatever was counted before is forgotten."""
        self.state, self._in_a_row = state, 0
        self._ticket += 1
        for one in self._slices:
            one.number = -1
