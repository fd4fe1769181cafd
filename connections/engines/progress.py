"""How far loading is: the share of the weights that has come into this process's memory."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connections.engines.told import Report

STATM = Path("/proc/self/statm")
EVERY = 0.5
"""Seconds between two looks."""


@contextmanager
def watched(size: int, report: Report, begin: int = 10, end: int = 95) -> Iterator[None]:
    """Report between `begin` and `end` percent while `size` bytes are loaded; without /proc only the beginning."""
    report(begin)
    done, before = threading.Event(), _resident()

    def watch() -> None:
        while not done.wait(EVERY):
            share = (_resident() - before) / max(size, 1)
            report(min(end, begin + int((end - begin) * max(share, 0))))

    thread = threading.Thread(target=watch, daemon=True)
    if STATM.exists():
        thread.start()
    try:
        yield
    finally:
        done.set()


def _resident() -> int:
    return int(STATM.read_text().split()[1]) * resource.getpagesize() if STATM.exists() else 0
