"""Ends what a task awaits, from outside: when a deadline passes, or whoever waits has left.

`asyncio.timeout` does the first as well; it costs 7 µs a time, which is much for a call that has several deadlines.
"""

import asyncio
from types import TracebackType
from typing import Self


class Interrupted(Exception):
    """What was awaited was given up."""


class Interruptible:
    """A context; `interrupt` may be called as long as it is entered, and ends it with Interrupted."""

    __slots__ = ("_hit", "_task")
    ending: type[Exception] = Interrupted

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only coroutines enter it
        self._task, self._hit = task, False
        return self

    def interrupt(self) -> None:
        self._hit = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hit:
            self._task.uncancel()
            if kind is asyncio.CancelledError:
                raise self.ending from None


class Deadline(Interruptible):
    """A context that ends with TimeoutError after `seconds`."""

    __slots__ = ("_seconds", "_timer")
    ending = TimeoutError

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self.interrupt)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        super().__exit__(kind, error, trace)
