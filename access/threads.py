"""Database work of async code: in a thread, with no database connection held afterwards."""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection

P = ParamSpec("P")
T = TypeVar("T")


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
