"""How many requests one process works on at once. What comes beyond that is refused before it costs anything."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from gateway.envelope import Problem

BUSY = Problem("overloaded", "Too many requests are being answered here at the moment; try again shortly.")
STOPPING = Problem("shutting_down", "This server is being stopped; ask again, and another one will answer.")


class Door:
    """Whoever lets a request in adds its task to `inside`, and takes it out again when it has been answered."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.inside: set[asyncio.Task[Any] | None] = set()
        self.refusal = BUSY
        """Why nobody is let in once there are `room` of them inside."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside with the current task. Raises Problem when there is no room."""
        if len(self.inside) >= self.room:
            raise self.refusal
        task = asyncio.current_task()
        self.inside.add(task)
        try:
            yield
        finally:
            self.inside.discard(task)

    def close(self) -> None:
        """Let nobody in any more."""
        self.room, self.refusal = 0, STOPPING

    async def emptied(self, patience: float) -> None:
        """Wait until all who are inside have been answered, at most for `patience` seconds."""
        if inside := {task for task in self.inside if task is not None}:
            await asyncio.wait(inside, timeout=patience)

    async def empty(self, patience: float) -> None:
        """End what is still being answered; each says so to its client."""
        for task in self.inside:
            if task is not None:
                task.cancel()
        await self.emptied(patience)


calls, pages = Door(settings.MAX_CALLS), Door(settings.MAX_PAGES)
"""Of `/v1` and of the playground's answers; of everything else. Streams of pages do not count: they last as long as
somebody looks."""
