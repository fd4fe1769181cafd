"""What is asked of a server: plain calls (wrk) and streams (`bench.streams`), from the core beside it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.machine import LOAD_CORE, core_speed, load_seconds, pinned
from bench.servers import HERE, Lab, Server

Result = dict[str, Any]
PROMPT, LONG_PROMPT = 760, 100_000
"""Letters."""


def calls(server: Server, connections: int, seconds: float, letters: int = PROMPT) -> Result:
    command = [*pinned(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(HERE / "post.lua"), f"http://127.0.0.1:{server.port}{server.path}"]
    headers = "\n".join(f"{name}: {value}" for name, value in server.headers.items())
    told = {"BENCH_HEADERS": headers, "BENCH_MODEL": server.model, "BENCH_LETTERS": str(letters)}
    done = subprocess.run(command, env={**os.environ, **told}, stdout=subprocess.PIPE, text=True, check=True)
    return _read(done.stdout.rpartition("JSON ")[2])


def streams(
    server: Server, count: int, rate: int, chunks: int = 100, *, model: str = "", alone: bool = False
) -> Result:
    load = {"port": server.port, "path": server.path, "headers": server.headers, "model": model or server.model}
    load |= {"streams": count, "rate": rate, "chunks": chunks, "alone": alone}
    command = [*pinned(LOAD_CORE), sys.executable, "-m", "bench.streams", json.dumps(load)]
    return _read(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _read(text: str) -> Result:
    found: Result = json.loads(text)
    return found


def measured(lab: Lab, server: Server, load: Callable[[Server], Result]) -> Result:
    """What the load saw, and what it cost: the server's CPU per call or chunk, and how busy the load's core was."""
    with server.running() as process:
        others = [lab.upstream] if process is not lab.upstream else []
        before = process.cpu_seconds(), _seconds(lab), load_seconds() + sum(one.cpu_seconds() for one in others)
        began = time.perf_counter()
        seen = load(server)
        wall = time.perf_counter() - began
        after = process.cpu_seconds(), _seconds(lab), load_seconds() + sum(one.cpu_seconds() for one in others)
    used, valkey, loading = (late - early for early, late in zip(before, after, strict=True))
    each = 1e6 / max(seen["units"], 1)
    cost = {"us": used * each, "valkey_us": valkey * each, "load": loading / wall, "per_second": seen["units"] / wall}
    return {"server": server.name, "core_ms": core_speed(), **cost, **seen}


def _seconds(lab: Lab) -> float:
    return lab.valkey_process.cpu_seconds() if lab.valkey else 0.0
