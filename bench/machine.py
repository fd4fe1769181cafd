"""Processes pinned to a core, and what CPU they used."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SERVER_CORE, LOAD_CORE = 0, 1


class Process:
    """One server with everything it forks."""

    def __init__(self, command: list[str], core: int, env: Mapping[str, str] | None = None, log: Path | None = None):
        output = log.open("wb") if log else subprocess.DEVNULL
        self._process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            env={**os.environ, **(env or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def cpu_seconds(self) -> float:
        return sum(_ticks(pid) for pid in _tree(self._process.pid)) / TICKS

    def memory_mb(self) -> float:
        return sum(_resident(pid) for pid in _tree(self._process.pid)) / 1024

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _ticks(pid: int) -> int:
    try:
        parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(parts[11]) + int(parts[12])


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(port: int, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"Nothing answers on port {port}.")


def core_speed() -> float:
    """Milliseconds that a fixed loop takes on the servers' core: how fast the machine was at that moment."""
    loop = "import time; s = time.perf_counter(); sum(i * i for i in range(300_000)); print(time.perf_counter() - s)"
    command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-c", loop]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout) * 1000
