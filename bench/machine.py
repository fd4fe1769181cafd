"""Processes pinned to a core, and what CPU and memory they used."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SERVER_CORE, LOAD_CORE = 0, 1
first = False
"""Whether what is measured goes before everything else that runs here, which needs root."""


class Process:
    """One server with everything it forks. Its output goes to `log`."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str], cores: Sequence[int]) -> None:
        self.log = log
        self.began = time.perf_counter()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*pinned(*cores), *command],
                env=env,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def cpu_seconds(self) -> float:
        return sum(_ticks(pid) for pid in _tree(self.pid)) / TICKS

    def memory_mb(self) -> float:
        return sum(_resident(pid) for pid in _tree(self.pid)) / 1024

    @contextmanager
    def highest_memory(self) -> Iterator[list[float]]:
        """A list that gets MB four times a second while the context is open."""
        seen, over = [self.memory_mb()], threading.Event()

        def look() -> None:
            while not over.wait(0.25):
                seen.append(self.memory_mb())

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield seen
        finally:
            over.set()
            looking.join()

    def signal(self, number: int) -> None:
        os.killpg(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self.ended:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.kill()


def pinned(*cores: int) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, cores)), *(["chrt", "--rr", "1"] if first else [])]


def load_seconds() -> float:
    """CPU of all load programs that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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


def wait_for(process: Process, port: int, path: str, seconds: float = 120) -> float:
    """Seconds from the process's start to the first 200 under this path."""
    while time.perf_counter() - process.began < seconds and not process.ended:
        if _status(port, path) == b"200":
            return time.perf_counter() - process.began
        time.sleep(0.005)
    sys.exit(f"Nothing answers on port {port}:\n{process.log.read_text()[-2000:]}")


def _status(port: int, path: str) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            return line.recv(4096)[9:12]
    except OSError:
        return b""


def core_speed() -> float:
    """Milliseconds that a fixed loop takes on the servers' core: how fast the machine was at that moment."""
    loop = "import time; s = time.perf_counter(); sum(i * i for i in range(300_000)); print(time.perf_counter() - s)"
    command = [*pinned(SERVER_CORE), sys.executable, "-c", loop]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout) * 1000
