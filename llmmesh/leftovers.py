"""Finds and ends processes that outlived a supervisor which had no chance to stop them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llmmesh.files import write_privately

STOP_SECONDS = 5


def note(pids_file: Path, pids: Sequence[int]) -> None:
    """Write down what runs, with the time each began."""
    write_privately(pids_file, json.dumps([{"pid": pid, "started": started(pid)} for pid in pids]))


def end(pids_file: Path) -> int:
    """End what is noted and still runs. Returns how many processes that were."""
    try:
        noted = json.loads(pids_file.read_text())
    except (OSError, ValueError):
        return 0
    left = [entry["pid"] for entry in noted if entry["started"] and started(entry["pid"]) == entry["started"]]
    for pid in left:
        signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while any(started(pid) for pid in left) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        signal_group(pid, signal.SIGKILL)
    pids_file.unlink()
    return len(left)


def started(pid: int) -> str:
    """When a process began, to tell it from a later one that got the same number; empty: there is none."""
    boot, stat = Path("/proc/sys/kernel/random/boot_id"), Path(f"/proc/{pid}/stat")
    if boot.exists():
        with suppress(OSError):
            return f"{boot.read_text().strip()} {stat.read_text().rpartition(')')[2].split()[19]}"
        return ""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own list
    return listed.stdout.strip()


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a session's leader and all its descendants that stayed in it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
