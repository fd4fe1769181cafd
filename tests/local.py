"""`local_model`: the real llama.cpp server with the real weights, behind the connection that `up` makes."""

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from access.models import User
from access.roles import Role
from connections.models import Connection
from llmmesh import local_connection, local_model, processes
from llmmesh.local_connection import Served

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-mesh"
"""A data folder whose weights stay from run to run."""


def answered(port: int, path: str = "/health") -> tuple[int, str]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        line.request("GET", path)
        answer = line.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        line.close()


def wait_for(port: int, status: int, text: str = "", patience: float = 60) -> str:
    """The body of the first answer with this status that holds `text`."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found, body = answered(port)
        if found == status and text in body:
            return body
        time.sleep(0.1)
    raise AssertionError(f"No answer {status} with {text!r} within {patience} s; the last was {found} {body}")


class LocalServer:
    """One process as `up` starts it."""

    def __init__(self, served: Served, **environment: str) -> None:
        child = processes.model({**os.environ, **environment}, served)
        self.served = served
        self.process = subprocess.Popen(
            child.command,
            env=dict(child.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.said = self.process.communicate(timeout=30)[0]
        return self.process.returncode


@pytest.fixture(scope="session")
def weights() -> Path:
    """The built-in model's file; fetched once for this user."""
    try:
        return local_model.find(local_model.BUILT_IN, CACHE / "models")
    except local_model.Missing as error:
        pytest.skip(str(error))


@pytest.fixture
def local_model_connection(weights, settings, transactional_db) -> Iterator[Connection]:
    """The running server's connection, as the first start makes it."""
    settings.LOCAL_MODEL, settings.DATA_DIR = local_model.BUILT_IN, CACHE
    User.objects.create_user("root", role=Role.ADMIN)
    served = local_connection.prepare(local_model.BUILT_IN)
    server = LocalServer(served)
    try:
        wait_for(served.port, 200)
        yield Connection.objects.get(slug=local_connection.SLUG)
    finally:
        server.stop()
