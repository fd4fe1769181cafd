"""Whether memory stays flat: `python -m bench.memory [--calls 200000] [--streams 20000]`, against one process.

Shows the resident memory after each tenth, and how it went on from the half: what leaks grows as long as calls come.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from rich.console import Console

from bench.loads import Result, calls, streams
from bench.servers import Lab, Server, missing_tools

TENTHS = 10
TOGETHER = 250
"""Streams at once."""
Point = tuple[int, float]
"""Calls so far, MB."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--streams", type=int, default=20_000)
    options = parser.parse_args()
    if missing := missing_tools(peers=False, profile=False):
        sys.exit(missing)
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder, closing(Lab(Path(folder), valkey=True)) as lab:
        server = lab.mesh()
        _show(server, "calls", options.calls, lambda: calls(server, 16, 2))
        _show(server, "streams", options.streams, lambda: _streams(server))


def _streams(server: Server) -> Result:
    seen = streams(server, TOGETHER, rate=20, chunks=10)
    return {**seen, "units": TOGETHER, "failed": seen["failed"] + bool(seen["lost"])}


def _show(server: Server, what: str, wanted: int, load: Callable[[], Result]) -> None:
    console, points = Console(), []
    console.print(f"{what}: before them {server.process.memory_mb():.1f} MB")
    for point in _tenths(server, wanted, load):
        points.append(point)
        console.print(f"{point[0]:>9,} {what}  {point[1]:.1f} MB")
    console.print(f"{what}: {growth(points[len(points) // 2 - 1 :]):+.2f} MB per 10,000 in the second half\n")


def _tenths(server: Server, wanted: int, load: Callable[[], Result]) -> Iterator[Point]:
    made = 0
    for tenth in range(1, TENTHS + 1):
        while made < wanted * tenth / TENTHS:
            seen = load()
            made += seen["units"]
            if seen["failed"]:
                sys.exit(f"{seen['failed']} of them failed.")
        yield made, server.process.memory_mb()


def growth(points: list[Point]) -> float:
    """MB per 10,000, as a line through the points."""
    slope, _ = statistics.linear_regression(*zip(*points, strict=True))
    return float(slope * 10_000)


if __name__ == "__main__":
    main()
