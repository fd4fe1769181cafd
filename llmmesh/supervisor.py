"""Keeps the processes of one machine running, and ends all of them when it ends.

Each child leads a session of its own, so that Ctrl-C in the terminal reaches only the supervisor. It stops
the children in the reverse order of their stages. A child that dies unasked is started again. If the
supervisor itself is killed, the kernel signals every child (Linux); what survives even that is written in
`run/pids.json` and ended by the next start.
"""

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from llmmesh import leftovers
from llmmesh.leftovers import signal_group

STOP_SECONDS = 50
"""How long a child may take to stop: web processes let calls end, a Celery worker what it runs."""
GIVE_UP_AFTER = 5
"""A child that dies this often within `HOPELESS_SECONDS` will not get well by starting it again."""
HOPELESS_SECONDS = 60
PR_SET_PDEATHSIG = 1
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COLOURS = (36, 33, 32, 35, 34, 31)

_prctl = getattr(ctypes.CDLL(None), "prctl", None)


@dataclass(frozen=True)
class Child:
    """What to run. Stage 0 starts first and stops last."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stage: int = 1
    descriptors: tuple[int, ...] = ()
    """Open files that the child inherits under the same numbers."""
    needed: bool = True
    """Whether the whole machine stops when this child cannot be kept running."""
    when_orphaned: signal.Signals = signal.SIGKILL
    told: bytes = field(default=b"", repr=False)
    """What it finds on its standard input at each start."""
    hopeless: int | None = None
    """The exit status after which starting it again would change nothing."""


@dataclass
class Running:
    """One child's current process, and how often it had to be started lately."""

    child: Child
    process: subprocess.Popen[bytes] | None = None
    deaths: list[float] = field(default_factory=list)
    start_at: float | None = 0.0
    """When to start it; None: it runs, or has been given up."""
    rest: bytes = b""
    """The beginning of a line whose end has not come yet."""


class Supervisor:
    def __init__(self, children: Sequence[Child], pids_file: Path | None = None) -> None:
        self.children = [Running(child) for child in sorted(children, key=lambda child: child.stage)]
        self.pids_file = pids_file
        self.stopping: signal.Signals | None = None
        self.failed = False
        self.selector = selectors.DefaultSelector()
        self.width = max((len(child.name) for child in children), default=0)

    def run(self) -> int:
        """Start everything, keep it running until a signal comes, stop everything. Returns the exit status."""
        with _woken_by_signals(self.selector, self._stop):
            try:
                while self.stopping is None and not self.failed:
                    self._start_due()
                    self._wait(self._until_next_start())
                    self._notice_deaths()
            finally:
                self._stop_all()
        return 1 if self.failed else 0

    def when_answering(self, address: tuple[str, int], announce: Callable[[], None]) -> None:
        """Call `announce` once the web server gives its first answer. Its socket must already listen."""
        probe = socket.create_connection(address)
        probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

        def answered() -> None:
            self.selector.unregister(probe)
            with probe, suppress(OSError):
                if probe.recv(1):
                    announce()

        self.selector.register(probe, selectors.EVENT_READ, answered)

    def say(self, text: str, name: str = "mesh") -> None:
        index = next((index for index, one in enumerate(self.children) if one.child.name == name), None)
        label = f"{name:<{self.width}} │ "
        if sys.stdout.isatty() and index is not None:
            label = f"\033[{COLOURS[index % len(COLOURS)]}m{label}\033[0m"
        with suppress(OSError):  # the terminal is gone; stopping must go on
            print(f"{label}{text}", flush=True)

    def _stop(self, number: int, frame: Any) -> None:
        self.stopping = signal.Signals(number)

    def _start_due(self) -> None:
        for running in self.children:
            if running.start_at is not None and running.start_at <= time.monotonic():
                self._start(running)

    def _start(self, running: Running) -> None:
        child = running.child
        running.start_at = None
        process = subprocess.Popen(  # noqa: S603 - the commands are ours
            list(child.command),
            env=dict(child.environment),
            stdin=subprocess.PIPE if child.told else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=child.descriptors,
            start_new_session=True,
            preexec_fn=lambda: _die_with_parent(child.when_orphaned),
        )
        if process.stdin:
            with suppress(BrokenPipeError), process.stdin as told:
                told.write(child.told)
        pipe = cast(IO[bytes], process.stdout)
        os.set_blocking(pipe.fileno(), False)
        running.process = process
        self.selector.register(pipe, selectors.EVENT_READ, lambda: self._relay(running, pipe))
        self._write_pids()

    def _until_next_start(self) -> float | None:
        due = [running.start_at for running in self.children if running.start_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _wait(self, seconds: float | None) -> None:
        for key, _ in self.selector.select(seconds):
            key.data()

    def _relay(self, running: Running, pipe: IO[bytes]) -> None:
        """Print the whole lines a child has written; a progress bar's carriage return ends a line too."""
        piece = pipe.read(65536)
        if piece is None:
            return
        *lines, running.rest = (running.rest + piece).replace(b"\r", b"\n").split(b"\n")
        if not piece:
            self.selector.unregister(pipe)
            pipe.close()
            lines, running.rest = [running.rest], b""
        for line in lines:
            if text := line.decode(errors="replace").rstrip():
                self.hear(text, running)

    def hear(self, text: str, running: Running) -> None:
        """One line that a child has written."""
        self.say(text, running.child.name)

    def _notice_deaths(self) -> None:
        for running in self.children:
            if running.process is not None and running.process.poll() is not None:
                self._bury(running, running.process.returncode)

    def _bury(self, running: Running, status: int) -> None:
        """Note a death nobody asked for, and decide whether starting again is worth it."""
        name, now = running.child.name, time.monotonic()
        running.process = None
        running.deaths = [death for death in running.deaths if now - death < HOPELESS_SECONDS] + [now]
        if status == running.child.hopeless:
            self.failed = running.child.needed
            return
        if len(running.deaths) >= GIVE_UP_AFTER:
            self.failed = running.child.needed
            self.say(f"{name} stopped {GIVE_UP_AFTER} times in a minute. It is not started again.")
            return
        delay = 2.0 ** (len(running.deaths) - 1) / 2
        running.start_at = now + delay
        self.say(f"{name} stopped ({_described(status)}). It starts again in {delay:g} s.")

    def _stop_all(self) -> None:
        for stage in sorted({running.child.stage for running in self.children}, reverse=True):
            self._stop_stage([running for running in self.children if running.child.stage == stage])
        if self.pids_file:
            self.pids_file.unlink(missing_ok=True)

    def _stop_stage(self, stage: Sequence[Running]) -> None:
        alive = [running.process for running in stage if running.process is not None]
        for process in alive:
            signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(process.poll() is None for process in alive) and time.monotonic() < deadline:
            self._wait(0.2)
        for process in alive:
            signal_group(process.pid, signal.SIGKILL)  # also whatever a child left behind in its session
            process.wait()
        self._wait(0)

    def _write_pids(self) -> None:
        if self.pids_file:
            pids = [running.process.pid for running in self.children if running.process is not None]
            leftovers.note(self.pids_file, pids)


@contextmanager
def _woken_by_signals(selector: selectors.BaseSelector, stop: Callable[[int, Any], None]) -> Iterator[None]:
    """Let `select` return at once for the signals that stop us and for the death of a child."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    earlier_wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    earlier = {number: signal.signal(number, stop) for number in STOPPING}
    earlier[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
    selector.register(reader, selectors.EVENT_READ, lambda: reader.recv(4096))
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier_wakeup)
        for number, handler in earlier.items():
            signal.signal(number, handler)
        selector.unregister(reader)
        reader.close()
        writer.close()


def _die_with_parent(number: signal.Signals) -> None:
    """Runs in the child before its program: the kernel is to signal it when the supervisor dies (Linux only)."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, int(number))


def _described(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name
