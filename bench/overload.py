"""What a process does with more calls than it has room for: `python -m bench.overload [--room 50] [--times 5]`.

A real web process with `MESH_MAX_CALLS` calls at once, before a provider that takes 0.2 s. First as many clients as
there is room, then so many times more; whoever is refused asks again after a second, as it is told.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.machine import LOAD_CORE, SERVER_CORE, Process, free_port, wait_for
from bench.servers import LEFT_OUT, ROUTE
from bench.targets import serve
from llmmesh.environment import create_missing_secrets

PROVIDER_SECONDS = 0.2
PROBES = ("/healthz", "/readyz", "/metrics")


@dataclass
class Seen:
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)
    probes: list[float] = field(default_factory=list)
    memory: tuple[float, float] = (0, 0)

    def note(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.seconds.setdefault(status, []).append(seconds)

    def ms(self, status: int, share: float) -> str:
        times = sorted(self.seconds.get(status, []))
        return f"{times[min(len(times) - 1, int(len(times) * share))] * 1000:,.0f}" if times else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--room", type=int, default=50)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="mesh-overload-") as folder:
        asyncio.run(_measure(options, Path(folder)))


async def _measure(options: argparse.Namespace, folder: Path) -> None:
    create_missing_secrets(folder)
    env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    env |= {"MESH_DATA_DIR": str(folder), "DATABASE_URL": f"sqlite:///{folder / 'bench.sqlite3'}", "REDIS_URL": ""}
    env |= {"MESH_PRIVATE_ADDRESSES": "127.0.0.0/8", "MESH_MAX_CALLS": str(options.room)}
    upstream, port = await serve(seconds=PROVIDER_SECONDS), free_port()
    seed = [sys.executable, "-m", "bench.seed", str(upstream)]
    seeded = await asyncio.to_thread(subprocess.run, seed, env=env, stdout=subprocess.PIPE, check=True)
    told = json.loads(seeded.stdout.splitlines()[-1])
    command = [sys.executable, "-m", "uvicorn", "llmmesh.asgi:application", "--port", str(port), *told["web"]]
    web = Process(command, folder / "web.log", env, (SERVER_CORE,))
    try:
        await asyncio.to_thread(wait_for, web, port, "/healthz")
        await _load(web, port, told["key"], options.room, 3)  # warms up
        rows = {}
        for times in (1, options.times, 1):
            clients = options.room * times
            rows[f"{clients} clients{' again' if f'{clients} clients' in rows else ''}"] = await _load(
                web, port, told["key"], clients, options.seconds
            )
    finally:
        web.stop()
    _print(rows, options)


async def _load(web: Process, port: int, key: str, clients: int, seconds: float) -> Seen:
    seen, until, before = Seen(), time.perf_counter() + seconds, web.memory_mb()
    watching = asyncio.create_task(_probe(port, seen))
    await asyncio.gather(*(_client(port, key, seen, until, number / clients) for number in range(clients)))
    watching.cancel()
    seen.memory = before, web.memory_mb()
    return seen


async def _client(port: int, key: str, seen: Seen, until: float, delay: float) -> None:
    body = json.dumps({"model": ROUTE, "messages": [{"role": "user", "content": "x" * 800}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    await asyncio.sleep(delay * PROVIDER_SECONDS)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write((head + body).encode())
        status = await _answer(reader)
        seen.note(status, time.perf_counter() - started)
        if status == 503:
            await asyncio.sleep(1 + delay)
    writer.close()


async def _probe(port: int, seen: Seen) -> None:
    while True:
        for path in PROBES:
            started = time.perf_counter()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
            if await _answer(reader) != 200:
                sys.exit(f"{path} was refused.")
            seen.probes.append(time.perf_counter() - started)
            writer.close()
        await asyncio.sleep(0.1)


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return int(head.split()[1])


def _print(rows: dict[str, Seen], options: argparse.Namespace) -> None:
    table = Table(title=f"Room for {options.room} calls, a provider that takes {PROVIDER_SECONDS} s")
    headings = ("answered", "p50 ms", "p99 ms", "refused", "p50 ms", "p99 ms", "other", "slowest probe ms", "MB")
    for heading in ("", *headings):
        table.add_column(heading, justify="right" if heading else "left")
    for name, seen in rows.items():
        table.add_row(
            name,
            *(f"{seen.statuses[200]:,}", seen.ms(200, 0.5), seen.ms(200, 0.99)),
            *(f"{seen.statuses[503]:,}", seen.ms(503, 0.5), seen.ms(503, 0.99)),
            str(seen.statuses.total() - seen.statuses[200] - seen.statuses[503]),
            f"{max(seen.probes) * 1000:,.0f}",
            f"{seen.memory[0]:.0f} → {seen.memory[1]:.0f}",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
