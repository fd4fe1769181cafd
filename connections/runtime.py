"""Where calls to providers run: one transport per event loop, one background loop per process for sync code."""

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from connections import addresses
from connections.transport import Transport

T = TypeVar("T")
Loop = asyncio.AbstractEventLoop

_caches: list[dict[Loop, Any]] = []


def per_loop(opening: Callable[[], AbstractAsyncContextManager[T]]) -> Callable[[], Awaitable[T]]:
    """A getter for one shared instance per event loop, opened at the first call and closed when its loop ends."""
    opened: dict[Loop, tuple[AsyncGenerator[T], asyncio.Task[T]]] = {}
    _caches.append(opened)

    async def hold(loop: Loop) -> AsyncGenerator[T]:
        """An open generator, because that is what every loop closes by itself (`shutdown_asyncgens`)."""
        try:
            async with opening() as instance:
                yield instance
        finally:
            opened.pop(loop, None)

    async def first(holder: AsyncGenerator[T]) -> T:
        return await anext(holder)

    async def get() -> T:
        loop = asyncio.get_running_loop()
        if loop not in opened:
            holder = hold(loop)
            opened[loop] = holder, loop.create_task(first(holder))
        opening = opened[loop][1]
        return opening.result() if opening.done() else await asyncio.shield(opening)

    return get


transport = per_loop(Transport)
"""`await transport()`: the running loop's transport."""
picture_transport = per_loop(lambda: Transport(guard=addresses.pictures_guard()))
"""The one for addresses that callers and answers name, which reaches nothing private but what is listed for it."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on this process's background loop and wait for it; for Celery tasks and commands."""
    future = asyncio.run_coroutine_threadsafe(work, _background.loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class _Background:
    """One event loop in a thread of its own, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: Loop | None = None

    def loop(self) -> Loop:
        with self._lock:
            if self._loop is None:
                started: threading.Event = threading.Event()
                self._thread = threading.Thread(target=self._serve, args=[started], name="providers", daemon=True)
                self._thread.start()
                started.wait()
            assert self._loop is not None  # noqa: S101 - set before `started`
            return self._loop

    def _serve(self, started: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            started.set()
            self._loop.run_forever()

    def stop(self) -> None:
        """Let the loop close its transport before the interpreter goes."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5)


_background = _Background()


def _start_afresh() -> None:
    """A forked child has neither our thread nor a right to our sockets."""
    global _background
    _background = _Background()
    for opened in _caches:
        opened.clear()


os.register_at_fork(after_in_child=_start_afresh)
atexit.register(lambda: _background.stop())
