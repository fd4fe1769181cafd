"""Where the server's time goes, by part: py-spy looks at its threads a hundred times a second, under each load.

Shares are of the samples in which a thread ran. What the C libraries do counts for the Python that called them.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.loads import calls, measured, streams
from bench.machine import LOAD_CORE, pinned
from bench.servers import Lab, Server, spy
from bench.shown import CALLS, STREAMS

A_SECOND = 100
MOST = 25
UPSTREAM = tuple(
    f"connections/{name}"
    for name in ("transport", "wire", "pool", "dialing", "heads", "interrupting", "alarm", "decoding", "addresses")
)
PARTS = {
    "usage rows": ("gateway/metering", "gateway/ledger", "django/", "psycopg"),
    "limits and budgets": ("gateway/limits", "gateway/budgets", "redis/"),
    "upstream client": UPSTREAM,
    "provider's dialect": ("connections/", "genai_prices/"),
    "decoding the request": ("gateway/bodies", "gateway/strict_json", "gateway/envelope"),
    "rights, route, settling": ("gateway/",),
    "key": ("access/",),
    "server protocol": ("uvicorn/", "llmmesh/"),
}
"""By the beginning of a file's path; the innermost function that belongs anywhere decides."""
LOOP = "event loop"
"""Sockets and timers, in uvloop; the wait for something to do too, unless the server is as busy as can be."""
RUNNER = "asyncio/runners.py"
FRAME = re.compile(r"^(?P<function>.+) \((?P<file>[^()]+?)(:\d+)?\)$")
IDLE = "concurrent/futures/thread.py"
"""Where a thread waits for work."""
Frame = tuple[str, str]
"""Function and file."""


def run(lab: Lab, folder: Path, seconds: int) -> None:
    """Shows a table for each load, and leaves the stacks in `folder` for flame graphs."""
    folder.mkdir(parents=True, exist_ok=True)
    server = lab.mesh()
    calls(server, 16, 2)
    loads: dict[str, Callable[[Server], Any]] = {
        CALLS[16]: lambda server: calls(server, 16, seconds),
        STREAMS: lambda server: streams(server, 64, 50, chunks=50 * seconds),
    }
    for what, load in loads.items():
        path = folder / f"{what.partition(',')[0]}.txt"
        look = [*pinned(LOAD_CORE), str(spy()), "record", "--format", "raw", "--rate", str(A_SECOND), "--threads"]
        look += ["--output", str(path), "--duration", str(seconds), "--pid", str(server.process.pid)]
        with subprocess.Popen(look, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            seen = measured(lab, server, load)
        busy = seen["us"] * seen["per_second"] / 1e6
        _show(f"{what}, by part (the server ran for {busy:.0%} of the time)", parts(path))
        _show("by function, without what it calls", functions(path))


def _stacks(path: Path) -> Iterator[tuple[list[Frame], int]]:
    """From the outermost function to the innermost, and in how many samples."""
    for line in path.read_text().splitlines():
        text, _, count = line.rpartition(" ")
        found = [match.group("function", "file") for frame in text.split(";") if (match := FRAME.match(frame))]
        if found and found[-1][1] != IDLE:
            yield [(function, file) for function, file in found], int(count)


def parts(path: Path) -> Counter[str]:
    """Samples by part."""
    found: Counter[str] = Counter()
    for frames, count in _stacks(path):
        found[_part(frames)] += count
    return found


def functions(path: Path) -> Counter[str]:
    """Samples by function, without what it calls."""
    found: Counter[str] = Counter()
    for frames, count in _stacks(path):
        found["{} ({})".format(*frames[-1])] += count
    return found


def _part(frames: Sequence[Frame]) -> str:
    for _, file in reversed(frames):
        if file == RUNNER:
            break
        for part, beginnings in PARTS.items():
            if file.startswith(beginnings):
                return part
    return LOOP


def _show(title: str, counted: Counter[str]) -> None:
    table = Table(title=title)
    table.add_column("")
    table.add_column("share", justify="right")
    for name, count in counted.most_common(MOST):
        table.add_row(name, f"{count / counted.total():.1%}")
    Console(width=110).print(table)
