"""`manage.py up` as people run it: real processes on a data folder and a port of their own."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmmesh import leftovers, processes
from llmmesh.environment import create_missing_secrets
from llmmesh.management.commands import up

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60
"""Seconds; the machine may be busy with other tests."""
pytestmark = pytest.mark.timeout(180)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def eventually(condition, what: str, patience: float = PATIENCE):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"After {patience} s still not: {what}")


def running_on(folder: Path) -> list[int]:
    """Living processes that were given our data folder, in their environment or on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                given = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            except OSError:
                continue
            if alive and str(folder).encode() in given:
                found.append(int(entry.name))
    return found


class Machine:
    """One `up` on one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.log = folder, free_port(), folder.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str, **environment: str) -> dict[str, Any]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MESH_", "DJANGO_"))}
        inherited.pop("DATABASE_URL", None)
        own = {"MESH_DATA_DIR": str(self.folder), "MESH_LOCAL_MODEL": "off", "PORT": str(self.port), **environment}
        return {"args": [sys.executable, "manage.py", *arguments], "cwd": ROOT, "env": {**inherited, **own}}

    def start(self, *arguments: str, **environment: str) -> "Machine":
        """`up` until it answers."""
        with self.log.open("ab") as log:
            command = self.command("up", *arguments, **environment)
            self.process = subprocess.Popen(**command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        eventually(lambda: self.process.poll() is not None or self.get("/healthz")[0] == 200, "answering")
        assert self.process.poll() is None, self.log.read_text()
        return self

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command that is to end by itself."""
        command = self.command(*arguments, **environment)
        return subprocess.run(**command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; 0 while nobody listens."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            line.request("GET", path)
            answer = line.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            line.close()

    def child(self, program: str) -> int | None:
        """The process id of the child whose command line holds `program`."""
        for pid in running_on(self.folder):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if program in line:
                return pid
        return None

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in running_on(self.folder):  # only where a test has failed
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "data")
    yield machine
    machine.end()


def test_a_life_from_the_first_start_to_ctrl_c(machine):
    machine.start()
    eventually(lambda: "is ready" in machine.log.read_text(), "said to be ready")

    assert json.loads(machine.get("/healthz")[1]) == {"status": "ok"}
    found = json.loads((machine.folder / "first-run.json").read_text())
    assert set(found) == {"url", "username", "password", "api_key"}
    assert (machine.folder / "first-run.json").stat().st_mode & 0o777 == 0o600
    assert found["password"] in machine.log.read_text()

    second = machine.run("up", PORT=str(free_port()))
    assert second.returncode == 1
    assert f"already runs on the data folder {machine.folder}" in second.stderr
    assert "Traceback" not in second.stderr

    os.killpg(machine.process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does
    assert machine.process.wait(PATIENCE) == 0
    assert running_on(machine.folder) == []
    assert not (machine.folder / "run" / "pids.json").exists()

    machine.log.write_text("")
    machine.start()
    eventually(lambda: "stand in" in machine.log.read_text(), "told where the password stands")
    assert found["password"] not in machine.log.read_text()
    assert json.loads((machine.folder / "first-run.json").read_text()) == found


def test_a_killed_supervisor_leaves_nothing_behind(machine):
    machine.start()
    assert len(running_on(machine.folder)) == 6  # supervisor, Valkey, web, worker, beat, engines

    machine.process.kill()

    eventually(lambda: running_on(machine.folder) == [], "children gone", 10)


def test_a_killed_worker_starts_again(machine):
    machine.start()
    killed = eventually(lambda: machine.child(" --app llmmesh --quiet worker"), "a worker")

    os.kill(killed, signal.SIGKILL)

    assert eventually(lambda: machine.child(" --app llmmesh --quiet worker") not in (None, killed), "another worker")
    assert "worker stopped (SIGKILL)" in machine.log.read_text()
    assert machine.get("/healthz")[0] == 200


def test_what_even_the_kernel_left_is_ended_by_the_next_start(machine, tmp_path):
    """As on systems without a parent-death signal: a process noted with its start time, whose supervisor is gone."""
    stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    pids = tmp_path / "pids.json"
    leftovers.note(pids, [stray.pid])
    noted = json.loads(pids.read_text())
    pids.write_text(json.dumps([*noted, {"pid": innocent.pid, "started": "another time"}]))

    try:
        threading.Thread(target=stray.wait, daemon=True).start()  # its supervisor would be init, which reaps it
        assert leftovers.end(pids) == 1
        assert stray.wait(PATIENCE) == -signal.SIGTERM
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_a_taken_port_is_refused_with_a_sentence(machine):
    with socket.create_server(("127.0.0.1", machine.port)):
        refused = machine.run("up")

    assert refused.returncode == 1
    assert re.search(rf"Port {machine.port} is taken.*PORT={machine.port + 1}", refused.stderr)
    assert not (machine.folder / "first-run.json").exists()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MESH_LOCL_MODEL": "off"}, "Unknown setting MESH_LOCL_MODEL"),
        ({"MESH_SECRET_KEY": "short"}, "MESH_SECRET_KEY must have at least 32 bytes"),
    ],
)
def test_a_refusal_is_a_sentence_not_a_traceback(machine, environment, said):
    refused = machine.run("up", **environment)

    assert refused.returncode == 1
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_part_alone_needs_its_root_secrets_and_a_meeting_place(machine):
    without_secrets = machine.run("up", "--only", "web")
    create_missing_secrets(machine.folder)
    without_redis = machine.run("up", "--only", "web")

    assert "MESH_SECRET_KEY is not set" in without_secrets.stderr
    assert "--only web needs REDIS_URL" in without_redis.stderr


@pytest.fixture
def valkey(tmp_path) -> Iterator[str]:
    """A server for several machines to meet at."""
    path = tmp_path / "meeting.sock"
    with subprocess.Popen([processes.valkey_program(), "--port", "0", "--unixsocket", path, "--save", ""]) as server:
        yield f"unix://{path}"
        server.terminate()


@pytest.mark.parametrize(
    ("part", "v1", "page", "api"),
    [("gateway", 401, 404, 404), ("web", 404, 200, 401)],
)
def test_a_part_alone_serves_its_plane(machine, valkey, part, v1, page, api):
    prepared = machine.run("prepare", REDIS_URL=valkey)
    assert prepared.returncode == 0, prepared.stderr
    assert json.loads((machine.folder / "first-run.json").read_text())["password"] in prepared.stdout

    machine.start("--only", part, REDIS_URL=valkey)

    answers = [machine.get(path)[0] for path in ("/v1/models", "/accounts/login/", "/api/connections/", "/readyz")]
    assert answers == [v1, page, api, 200]
    machine.process.send_signal(signal.SIGTERM)
    assert machine.process.wait(PATIENCE) == 0


def test_a_part_refuses_a_database_that_nobody_prepared(machine, valkey):
    create_missing_secrets(machine.folder)

    refused = machine.run("up", "--only", "worker", REDIS_URL=valkey)

    assert refused.returncode == 1
    assert "Run `manage.py prepare` once" in refused.stderr


def test_no_part_of_an_answer_waits_for_the_receipt_of_another(settings):
    """What connections to the inherited socket bring along, because uvicorn takes it for a local one."""
    settings.PORT = free_port()
    with up.listen() as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
