"""One table: what a call and a streamed chunk cost here, beside nginx `proxy_pass` in the same run.

`python -m bench [--rounds 3] [--seconds 5] [--streams 64]`, with `DATABASE_URL` for another database than SQLite.
The server under test has core 0 to itself, load and upstream share core 1. Judge by CPU per call (user and
system time of the server's processes ÷ answered calls) and by the ratio to nginx; absolute times move with
the machine. Needs nginx, wrk and taskset (Debian: nginx-light, wrk, util-linux). Everything is on: key check,
rights, validation, price and a usage row committed before the answer; the rows are counted at the end.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import LOAD_CORE, SERVER_CORE, Process, core_speed, free_port, wait_for
from llmmesh.environment import create_missing_secrets

HERE = Path(__file__).parent
CHUNKS_PER_SECOND = 50
COUNT_ROWS = "from gateway.models import Usage; print(Usage.objects.count())"


def main() -> None:
    options = _options()
    missing = [tool for tool in ("nginx", "wrk", "taskset") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"Not installed: {', '.join(missing)}. Debian's packages are nginx-light, wrk and util-linux.")
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder:
        _run(options, Path(folder))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=64)
    return parser.parse_args()


def _run(options: argparse.Namespace, folder: Path) -> None:
    upstream_port, nginx_port, mesh_port = free_port(), free_port(), free_port()
    env = _environment(folder, mesh_port)
    seed = subprocess.run(
        [sys.executable, "-m", "bench.seed", str(upstream_port)], env={**os.environ, **env}, check=True,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    key = seed.stdout.split()[-1]
    upstream = [sys.executable, "-m", "bench.upstream", str(upstream_port), str(CHUNKS_PER_SECOND)]
    serve = [
        sys.executable, "-m", "uvicorn", "llmmesh.asgi:application", "--port", str(mesh_port),
        "--no-access-log", "--log-level", "warning", "--no-server-header", "--http", "llmmesh.server:Protocol",
    ]  # fmt: skip
    running = [Process(upstream, LOAD_CORE)]
    try:
        wait_for(upstream_port)
        nginx = Process(_nginx(folder, nginx_port, upstream_port, key), SERVER_CORE)
        mesh = Process(serve, SERVER_CORE, env, folder / "mesh.log")
        running += [nginx, mesh]
        wait_for(nginx_port)
        wait_for(mesh_port)
        results = _measure(options, {"nginx proxy_pass": (nginx, nginx_port), "LLM Mesh": (mesh, mesh_port)}, key)
        idle = mesh.memory_mb()
    finally:
        for process in reversed(running):
            process.stop()
    _print(results, idle, _rows(env))


def _environment(folder: Path, port: int) -> dict[str, str]:
    create_missing_secrets(folder)
    database = os.environ.get("DATABASE_URL") or f"sqlite:///{folder / 'bench.sqlite3'}"
    return {
        "MESH_DATA_DIR": str(folder),
        "DATABASE_URL": database,
        "MESH_PRIVATE_ADDRESSES": "127.0.0.0/8",
        "PORT": str(port),
    }


def _nginx(folder: Path, port: int, upstream: int, key: str) -> list[str]:
    text = (HERE / "nginx.conf").read_text()
    for name, value in {"folder": folder, "port": port, "upstream": upstream, "key": key}.items():
        text = text.replace("{{" + name + "}}", str(value))
    path = folder / "nginx.conf"
    path.write_text(text)
    return ["nginx", "-c", str(path)]


Result = dict[str, Any]


def _measure(options: argparse.Namespace, servers: dict[str, tuple[Process, int]], key: str) -> list[Result]:
    """Several short rounds, the servers taking turns, so that a slow minute hits both alike."""
    found: list[Result] = []
    for _, port in servers.values():
        _calls(port, key, 16, 2)
    for _ in range(options.rounds):
        for name, (process, port) in servers.items():
            for what, units, load in (
                ("call, 1 in flight", "requests", lambda port=port: _calls(port, key, 1, options.seconds)),
                ("call, 16 in flight", "requests", lambda port=port: _calls(port, key, 16, options.seconds)),
                ("call, 64 in flight", "requests", lambda port=port: _calls(port, key, 64, options.seconds)),
                (f"chunk, {options.streams} streams", "chunks", lambda port=port: _streams(port, key, options.streams)),
            ):
                before = process.cpu_seconds()
                seen = load()
                cost = (process.cpu_seconds() - before) / seen[units] * 1e6
                found.append({"server": name, "what": what, "us": cost, "core_ms": core_speed(), **seen})
    return found


def _calls(port: int, key: str, connections: int, seconds: int) -> Result:
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-s", str(HERE / "post.lua"), f"http://127.0.0.1:{port}/v1/chat/completions"]
    output = subprocess.run(
        command, env={**os.environ, "BENCH_KEY": key}, capture_output=True, text=True, check=True
    ).stdout
    return json.loads(output.rpartition("JSON ")[2])


def _streams(port: int, key: str, streams: int) -> Result:
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.streams", str(port), key, str(streams)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _rows(env: dict[str, str]) -> int:
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", COUNT_ROWS]
    shown = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return int(shown.stdout.split()[-1])


def _print(results: list[Result], memory: float, rows: int) -> None:
    table = Table(title=f"CPU per call and per chunk ({rows} usage rows committed, {memory:.0f} MB after the load)")
    for heading in ("what", "server", "CPU µs", "× nginx", "p50 ms", "p99 ms", "failed", "core ms"):
        table.add_column(heading, justify="left" if heading in {"what", "server"} else "right")
    for what in dict.fromkeys(result["what"] for result in results):
        floor = _median(results, what, "nginx proxy_pass", "us")
        for server in dict.fromkeys(result["server"] for result in results):
            cells = [_median(results, what, server, name) for name in ("us", "p50_ms", "p99_ms", "core_ms")]
            failed = sum(result.get("failed", 0) for result in _of(results, what, server))
            table.add_row(
                what, server, f"{cells[0]:.1f}", f"{cells[0] / floor:.2f}", f"{cells[1]:.2f}", f"{cells[2]:.2f}",
                str(failed), f"{cells[3]:.1f}",
            )  # fmt: skip
    Console(width=110).print(table)


def _of(results: list[Result], what: str, server: str) -> list[Result]:
    return [result for result in results if result["what"] == what and result["server"] == server]


def _median(results: list[Result], what: str, server: str, name: str) -> float:
    return statistics.median(result[name] for result in _of(results, what, server))


if __name__ == "__main__":
    main()
