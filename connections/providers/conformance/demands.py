"""How a check says what is wrong, or that it does not apply."""

from collections.abc import Callable
from typing import Any, NoReturn

from connections.providers.errors import ProviderError


class Skipped(Exception):
    """The check does not apply; the text says why."""


def demand(condition: object, message: str) -> None:
    if not condition:
        fail(message)


def fail(message: str) -> NoReturn:
    raise AssertionError(message)


def equal(found: Any, expected: Any, what: str) -> None:
    demand(found == expected, f"{what}: {found!r}, and not {expected!r}")


def raises(kind: type[Exception], work: Callable[[], Any], what: str) -> Exception:
    """The exception that `work` raises; it must be of this kind."""
    try:
        found = work()
    except kind as error:
        return error
    except Exception as error:
        fail(f"{what} raises {_described(error)}, and not {kind.__name__}")
    fail(f"{what} gives {str(found)[:200]!r} instead of raising {kind.__name__}")


def only_provider_errors(work: Callable[[], Any], what: str) -> None:
    """Whatever comes, nothing but a ProviderError may leave."""
    try:
        work()
    except ProviderError:
        return
    except Exception as error:
        fail(f"{what} raises {_described(error)}; only a ProviderError may leave a provider")


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
