"""`workers`: real Valkey, Celery worker and beat processes on the test's database; any of them may be killed."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from kombu import pools

from gateway.ledger import notes
from gateway.metering import journal_folder
from llmmesh import processes
from llmmesh.celery import app
from llmmesh.environment import broker_url
from llmmesh.supervisor import Child

PATIENCE = 60
"""Seconds; the machine may be busy with other tests."""


class Workers:
    def __init__(self, folder: Path) -> None:
        self.socket = folder / "valkey.sock"
        self.log = folder / "workers.log"
        self.redis_url = f"unix://{self.socket}"
        self.running: list[subprocess.Popen[bytes]] = []
        self.webs: dict[int, subprocess.Popen[bytes]] = {}
        """The web processes by their ports."""
        self.environment = {**os.environ, "REDIS_URL": self.redis_url, "DATABASE_URL": database_url()}

    def start(self, child: Child) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                child.command,
                env=dict(child.environment),
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=child.descriptors,
            )
        self.running.append(process)
        return process

    def start_valkey(self) -> subprocess.Popen[bytes]:
        process = self.start(processes.valkey(self.environment, self.socket))
        until = time.monotonic() + PATIENCE
        while not self.socket.exists() and time.monotonic() < until:
            time.sleep(0.02)
        return process

    def start_web(self, port: int = 0, **environment: str) -> int:
        """A web process of its own; returns its port once it answers."""
        with socket.create_server(("127.0.0.1", port)) as listening:
            port = listening.getsockname()[1]
            (child,) = processes.web({**self.environment, **environment}, listening)
            process = self.webs[port] = self.start(child)
        until = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < until and not _answers(port):
            time.sleep(0.05)
        assert process.poll() is None, self.log.read_text()[-4000:]
        return port

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self.start(processes.worker(self.environment))

    def kill(self, process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
        os.killpg(process.pid, number)
        process.wait()

    def stop(self) -> None:
        for process in reversed(self.running):
            if process.poll() is None:
                self.kill(process)
        notes.replay(journal_folder(), lambda left: 0)  # calls that this cut off are no business of later tests


def _answers(port: int) -> bool:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        line.request("GET", "/healthz")
        return line.getresponse().status == 200
    except OSError:
        return False
    finally:
        line.close()


def database_url(through: tuple[str, int] | None = None) -> str:
    """The test's own database, for other processes; those that go through a proxy find it there."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{found['NAME']}"
    host, port = through or (found["HOST"], found["PORT"])
    return f"postgres://{found['USER']}:{found['PASSWORD']}@{host}:{port}/{found['NAME']}"


@pytest.fixture
def workers(transactional_db: None, tmp_path: Path) -> Iterator[Workers]:
    """Valkey and beat run; workers are started by the test. Tasks of this process reach them too."""
    running, before = Workers(tmp_path), app.conf.broker_url
    running.start_valkey()
    use_broker(broker_url(running.redis_url))
    running.start(processes.beat(running.environment))
    try:
        yield running
    finally:
        use_broker(before)
        running.stop()
        print(running.log.read_text()[-4000:])


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Valkey."""
    running = Workers(tmp_path_factory.mktemp("valkey"))
    running.start_valkey()
    try:
        yield running.redis_url
    finally:
        running.stop()


def use_broker(url: str) -> None:
    app.conf.broker_url = url
    pools.reset()
    app._pool = None
    app.amqp._producer_pool = None
