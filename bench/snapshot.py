"""The snapshot of a large company: how long it takes to build and to look into, and how long calls wait meanwhile.

`python -m bench.snapshot`, on SQLite or in the empty database of `DATABASE_URL`. See `bench.company` for its size.
"""

import asyncio
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmmesh.environment import create_missing_secrets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")
FOLDER = tempfile.TemporaryDirectory(prefix="mesh-bench-")
create_missing_secrets(Path(FOLDER.name))
os.environ["MESH_DATA_DIR"] = FOLDER.name
os.environ.setdefault("DATABASE_URL", f"sqlite:///{FOLDER.name}/bench.sqlite3")

import django  # noqa: E402 - the settings need the names above

django.setup()

import uvloop  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from access import keys  # noqa: E402 - needs the apps
from access.models import User  # noqa: E402 - likewise
from access.threads import in_thread  # noqa: E402 - likewise
from bench import company  # noqa: E402 - likewise
from connections.models import Connection  # noqa: E402 - likewise
from gateway.snapshot import Snapshot  # noqa: E402 - likewise
from gateway.snapshots import build  # noqa: E402 - likewise

TIMES, LOOKS = 7, 20_000


def milliseconds(work: Callable[[], Any]) -> float:
    """Of CPU, which is the time it takes on a machine that does nothing else."""
    taken = []
    for _ in range(TIMES):
        began = time.thread_time()
        work()
        taken.append((time.thread_time() - began) * 1000)
    return statistics.median(taken)


def look_up_ns(snapshot: Snapshot, model: str) -> float:
    """Key, model and right of one call."""
    digest = keys.digest("key7")

    def look() -> None:
        for _ in range(LOOKS):
            principal = snapshot.keys[digest].principal
            snapshot.models[model].granted_to(principal)

    return milliseconds(look) * 1e6 / LOOKS


async def longest_gap_ms(work: Callable[[], Any] | None, seconds: float = 1.0) -> float:
    """The longest time that the event loop did not come round, while a thread works or for some seconds."""
    working = asyncio.ensure_future(in_thread(work) if work else asyncio.sleep(seconds))
    longest, last = 0.0, time.perf_counter()
    while not working.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    await working
    return longest * 1000


def gap(work: Callable[[], Any] | None = None) -> float:
    return statistics.median(uvloop.run(longest_gap_ms(work)) for _ in range(TIMES))


def changed(former: Snapshot) -> Snapshot:
    """After one admin's change."""
    Connection.objects.filter(name="Connection 7").update(retries=5)
    return build(former)


def main() -> None:
    company.fill()
    large = build(Snapshot())
    gc.collect()
    gc.freeze()  # as the web process does at its start
    model = next(iter(large.models))
    figures = {
        "built from nothing, CPU ms": milliseconds(lambda: build(Snapshot())),
        "built anew after a change, CPU ms": milliseconds(lambda: changed(large)),
        "one call's look-ups, ns": look_up_ns(large, model),
        "longest gap of the event loop, nothing built, ms": gap(),
        "longest gap while it is built anew, ms": gap(lambda: changed(large)),
    }
    User.objects.exclude(username="user7").delete()
    Connection.objects.exclude(pk=large.models[model].connection_id).delete()
    figures["the same look-ups in a small snapshot, ns"] = look_up_ns(build(Snapshot()), model)
    size = f"{len(large.keys):,} keys, {len(large.users):,} users, {len(large.models):,} models"
    table = Table(title=f"The snapshot of {size} over {len(large.adapters)} connections")
    table.add_column("")
    table.add_column("median", justify="right")
    for what, figure in figures.items():
        table.add_row(what, f"{figure:,.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    with FOLDER:
        main()
