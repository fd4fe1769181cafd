"""Database work of async code: in a thread, with no database connection held afterwards."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, close_old_connections, connection

AWAY = (OperationalError, InterfaceError)
"""How a database that does not answer shows; other errors are the row's own."""
P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger(__name__)


def released(work: Callable[P, T]) -> Callable[P, T]:
    """`work`, giving its thread's database connection back: whoever waits for a model must not hold one."""

    def releasing(*arguments: P.args, **options: P.kwargs) -> T:
        _give_back()
        try:
            return work(*arguments, **options)
        finally:
            _give_back()

    return releasing


def _give_back() -> None:
    """Close what is not needed any more; a caller's open transaction is its own."""
    if not connection.in_atomic_block:
        close_old_connections()


def in_thread(work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> Coroutine[Any, Any, T]:
    """Run `work` in a thread of the pool."""
    return sync_to_async(released(work), thread_sensitive=False)(*arguments, **options)


async def insist(tries: int, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """In a thread, once a second while the database is away or has no connection to spare."""
    for _ in range(tries):
        try:
            return await in_thread(work, *arguments, **options)
        except AWAY as error:
            logger.warning("The database is asked again: %s", error)
            await asyncio.sleep(1)
    return await in_thread(work, *arguments, **options)
