"""Engine programs as the supervisor runs them: a process, told over its standard input."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue
from typing import Any

from connections.engines.told import Given, heard

ROOT = Path(__file__).resolve().parents[2]
KEY = "engine-key-canary-8c1f20d4e6"


class Program:
    """One engine; `wait_for("running")` follows its reports."""

    def __init__(self, given: Given, *path: Path, python: str = sys.executable) -> None:
        places = os.pathsep.join([str(ROOT), *map(str, path)])
        self.process = subprocess.Popen(
            [python, "-P", "-m", "connections.engines"],
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": places},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.process.stdin.write(given.as_line())
        self.process.stdin.close()
        self.said: list[str] = []
        self.reports: list[dict[str, Any]] = []
        self._heard: Queue[dict[str, Any] | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            told = heard(text)
            if told is not None:
                self._heard.put(told)
            elif text:
                self.said.append(text)
        self._heard.put(None)

    def wait_for(self, state: str, patience: float = 90) -> dict[str, Any]:
        """The first report of this state."""
        while True:
            told = self._heard.get(timeout=patience)
            if told is None:
                raise AssertionError(f"The engine ended before it was {state}. It said: {self.reports} {self.said}")
            self.reports.append(told)
            if told["state"] == state:
                return told

    @property
    def port(self) -> int:
        return next(one["port"] for one in self.reports if "port" in one)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def threads(self) -> int:
        """How many threads it has; each connection has one."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()


def given(engine: str, *, folders: list[Path] | None = None, classes: list[str] | None = None, **more: Any) -> Given:
    return Given(
        engine,
        "127.0.0.1",
        0,
        KEY,
        more.get("settings", {}),
        more.get("secrets", {}),
        [str(folder) for folder in folders or []],
        classes or [],
    )


def events(body: bytes) -> list[Any]:
    """The data of a whole event stream."""
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]
