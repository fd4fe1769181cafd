"""The bench's tables: what everything cost, and which promise that keeps."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.table import Table

from bench.crashes import Crash
from bench.loads import Result
from bench.servers import DIRECT, LITELLM, MESH, NGINX, PORTKEY
from bench.starts import Scaling, Start

CALLS = {flying: f"call, {flying} in flight" for flying in (1, 16, 64)}
LONG = "call, 100 KB prompt, 16 in flight"
STREAMS = "chunk, 64 streams at 50/s"
TRANSLATION = "chunk, translated"
FIRST = "first token, alone"
MANY = "chunk, 512 streams at 20/s"
CELLS = {
    "CPU µs": ("us", "{:.1f}"),
    "Valkey µs": ("valkey_us", "{:.1f}"),
    "a second": ("per_second", "{:,.0f}"),
    "p50 ms": ("p50_ms", "{:.2f}"),
    "p99 ms": ("p99_ms", "{:.2f}"),
    "load's core": ("load", "{:.0%}"),
    "core ms": ("core_ms", "{:.1f}"),
}


@dataclass
class Found:
    """What one run measured; what was not asked for is None."""

    results: list[Result] = field(default_factory=list)
    start: Start | None = None
    crash: Crash | None = None
    scaling: Scaling | None = None

    def median(self, what: str, server: str, name: str) -> float | None:
        values = [one[name] for one in self.results if one["what"] == what and one["server"] == server]
        return statistics.median(values) if values else None

    def total(self, what: str, server: str, name: str) -> int:
        return sum(one.get(name, 0) for one in self.results if one["what"] == what and one["server"] == server)


class Row(NamedTuple):
    number: str
    what: str
    figure: float | None
    unit: str
    target: float


def costs(results: list[Result]) -> Table:
    found = Found(results)
    table = Table(title="CPU of the server per call and per chunk, medians of all rounds")
    for heading in ("what", "server", *CELLS, "× nginx", "failed", "lost"):
        table.add_column(heading, justify="left" if heading in {"what", "server"} else "right", no_wrap=True)
    for what in dict.fromkeys(one["what"] for one in results):
        floor = found.median(what, NGINX, "us")
        for server in dict.fromkeys(one["server"] for one in results if one["what"] == what):
            cells = [form.format(found.median(what, server, name) or 0) for name, form in CELLS.values()]
            ratio = (found.median(what, server, "us") or 0) / floor if floor else None
            broken = [str(found.total(what, server, name)) for name in ("failed", "lost")]
            table.add_row(what, server, *cells, f"{ratio:.2f}" if ratio else "", *broken)
        table.add_section()
    return table


def targets(found: Found) -> Table:
    table = Table(title="What is promised")
    for heading in ("", "what", "figure", "target", "kept"):
        table.add_column(heading, justify="right" if heading in {"figure", "target"} else "left")
    for row in sorted(_rows(found), key=_place):
        if row.figure is not None:
            figure, target = (
                text.rstrip() for text in (f"{row.figure:.3g} {row.unit}", f"≤ {row.target:g} {row.unit}")
            )
            table.add_row(row.number, row.what, figure, target, "✓" if row.figure <= row.target else "✗")
    if found.scaling is not None:
        table.add_section()
        table.add_row(
            "", "two web processes ÷ one, calls a second", f"{found.scaling.gain:.2f}", found.scaling.told, ""
        )
    return table


def _place(row: Row) -> int:
    return int(row.number[1:] or 100)


def _rows(found: Found) -> Iterator[Row]:
    cpu = {NGINX: "× nginx", PORTKEY: "× Portkey", LITELLM: "× LiteLLM"}
    for number, load, limits in (
        ("P1", CALLS[16], {NGINX: 5, PORTKEY: 0.10, LITELLM: 0.013}),
        ("P2", CALLS[64], {NGINX: 3.5}),
        ("P3", STREAMS, {NGINX: 2, PORTKEY: 0.30, LITELLM: 0.06}),
        ("P8", LONG, {NGINX: 4}),
    ):
        for peer, limit in limits.items():
            yield Row(number, f"CPU per {load}", _ratio(found, load, peer), cpu[peer], limit)
    yield Row("P4", "added p50, alone", _added(found, CALLS[1], "p50_ms"), "ms", 0.6)
    yield Row("P5", "added p99, 16 in flight", _added(found, CALLS[16], "p99_ms"), "ms", 5)
    yield Row("P6", "added time to first token, alone", _added(found, FIRST, "p50_ms"), "ms", 0.5)
    yield Row("P7", "lateness p99, 512 streams at 20/s", found.median(MANY, MESH, "p99_ms"), "ms", 5)
    if found.median(MANY, MESH, "us") is not None:
        yield Row("P7", "lost chunks", found.total(MANY, MESH, "lost"), "", 0)
    if found.start is not None:
        what = f"start to the first /healthz, {found.start.cpu_seconds:.2f} s of it CPU"
        yield Row("P9", what, found.start.seconds, "s", 1.5)
        yield Row("P9", "memory, idle", found.start.idle_mb, "MB", 110)
        yield Row("P9", "memory, 512 streams", found.start.streaming_mb, "MB", 160)
    if found.crash is not None:
        what = f"of {found.crash.acknowledged:,} answers before kill -9, without a usage row"
        yield Row("P10", what, found.crash.unwritten, "", 0)
    own, translated = found.median(STREAMS, MESH, "us"), found.median(TRANSLATION, MESH, "us")
    yield Row(
        "", "CPU per chunk, translated ÷ same dialect", translated / own if own and translated else None, "×", 1.5
    )


def _ratio(found: Found, what: str, peer: str) -> float | None:
    own, other = found.median(what, MESH, "us"), found.median(what, peer, "us")
    return own / other if own and other else None


def _added(found: Found, what: str, name: str) -> float | None:
    own, direct = found.median(what, MESH, name), found.median(what, DIRECT, name)
    return own - direct if own is not None and direct is not None else None
