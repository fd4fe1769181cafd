"""How long things take."""

from time import perf_counter


def ms_since(started: float) -> int:
    """Whole milliseconds since `perf_counter()` said `started`."""
    return round((perf_counter() - started) * 1000)
