"""Engines as `up` runs them: started, watched and stopped by a process of their own, as their rows say."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group

from access import keys
from access.models import EVERYONE, AuditEvent, User
from access.roles import Role, Scope
from connections import services
from connections.account import settle
from connections.models import Connection, Engine, EngineState
from connections.providers import registry
from connections.providers.calls import Mode
from connections.providers.errors import EngineStopped
from connections.services import ModelChoice
from tests.canary import leaks
from tests.engines.programs import ROOT
from tests.workers import database_url

CANARY = "py-secret-Qx71LmZ04tKd93RbWf58"
HELLO = {"model": "fish/fish", "messages": [{"role": "user", "content": "Hello"}]}
pytestmark = pytest.mark.timeout(180)


class Supervision:
    """One `up --only engines` on the test's database."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "engines.log"
        self.folder = folder

    def start(self) -> "Supervision":
        environment = {**os.environ, "DATABASE_URL": database_url(), "REDIS_URL": "unix:///nowhere.sock"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--only", "engines"],
                env=environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self

    def engines(self) -> list[int]:
        """The living engine processes of this supervisor."""
        entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [int(entry.name) for entry in entries if self._is_engine(entry)]

    def _is_engine(self, entry: Path) -> bool:
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            return parent == self.process.pid and b"connections.engines" in (entry / "cmdline").read_bytes()
        except OSError:
            return False

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def supervision(transactional_db, tmp_path) -> Iterator[Supervision]:
    running = Supervision(tmp_path).start()
    yield running
    running.stop()
    print(running.log.read_text()[-3000:])


@pytest.fixture
def admin(transactional_db):
    return User.objects.create_user("root", role=Role.ADMIN)


def connect(admin: User, name: str = "Fish", class_name: str = "tests.engines.fish:Fish") -> Connection:
    kind = registry.providers()["python_class"]
    secrets = {"secret_arguments": {"secret": CANARY}}
    account = settle(kind, {"class_name": class_name, "model_id": "fish"}, secrets)
    everyone, _ = Group.objects.get_or_create(name=EVERYONE)
    models = [ModelChoice("fish", Mode.CHAT)]
    return services.create_connection(admin, account, {"name": name}, models=models, groups=[everyone])


def wait_for(connection: Connection, condition: Any, patience: float = 90) -> Engine:
    """The engine's row, once it is as wanted; `condition` may be a state."""
    deadline = time.monotonic() + patience
    row = None
    while time.monotonic() < deadline:
        row = Engine.objects.filter(pk=connection.pk).first()
        if row is not None and (condition(row) if callable(condition) else row.state == condition):
            return row
        time.sleep(0.05)
    raise AssertionError(f"Not reached: {row and (row.state, row.reason, row.log)}")


def gone(pid: int, patience: float = 30) -> bool:
    deadline = time.monotonic() + patience
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.proves(kind="python_class", mode="chat", by="real peer")
def test_from_a_new_connection_to_an_answer_and_to_its_stop(supervision, admin, mesh):
    connection = connect(admin)
    mesh.key = keys.issue(admin, "suite", scopes=list(Scope.values))[1]
    row = wait_for(connection, EngineState.RUNNING)
    mesh.refresh()

    assert mesh.post("/v1/chat/completions", HELLO).text.endswith("None Hello")
    assert row.parameters[0]["name"] == "max_new_tokens"
    assert row.is_watched
    (pid,) = supervision.engines()
    seen = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"DATABASE_URL" not in seen and b"MESH_" not in seen and CANARY.encode() not in seen

    services.want_engine(admin, connection, False)
    wait_for(connection, EngineState.STOPPED)
    mesh.refresh()
    refused = mesh.post("/v1/chat/completions", HELLO)

    assert gone(pid)
    assert refused.status in {502, 503}
    assert refused.json["error"]["message"] == "The engine of this Python class connection is not running."
    assert AuditEvent.objects.filter(action="engine.stopped", object_label="Fish").exists()

    services.want_engine(admin, connection, True)
    wait_for(connection, EngineState.RUNNING)
    mesh.refresh()
    assert mesh.post("/v1/chat/completions", HELLO).status == 200


def test_a_failing_call_leaves_no_secret_in_the_log(supervision, admin, mesh):
    connection = connect(admin)
    mesh.key = keys.issue(admin, "suite", scopes=list(Scope.values))[1]
    wait_for(connection, EngineState.RUNNING)
    mesh.refresh()

    failed = mesh.post("/v1/chat/completions", {**HELLO, "runtime_parameters": {"temperature": "101"}})
    assert failed.status >= 500, failed.body
    row = wait_for(connection, lambda row: "too hot" in row.log)

    for text in (row.log, supervision.log.read_text(), failed.body.decode()):
        assert leaks(text.encode(), [CANARY]) == []


def test_an_engine_that_dies_is_told_and_tried_again(supervision, admin):
    connection = connect(admin, class_name="tests.engines.fish:Dies")

    row = wait_for(connection, lambda row: "SIGKILL" in row.reason)

    assert "too little memory" in row.reason
    assert "starts again" in row.reason
    with pytest.raises(EngineStopped):
        connection.provider().check()


def test_a_killed_engine_comes_back(supervision, admin):
    connection = connect(admin)
    first = wait_for(connection, EngineState.RUNNING)
    (pid,) = supervision.engines()

    os.kill(pid, signal.SIGKILL)

    wait_for(connection, EngineState.FAILED)
    second = wait_for(connection, EngineState.RUNNING)
    assert second.address != first.address
    assert supervision.engines() != [pid]


def test_what_cannot_be_loaded_is_not_tried_again_until_it_is_changed(supervision, admin):
    connection = connect(admin, class_name="langchain_core:Listed")

    row = wait_for(connection, EngineState.FAILED)
    assert "langchain_core" in row.reason
    assert supervision.engines() == []

    changed = {**connection.settings, "class_name": "tests.engines.fish:Fish"}
    services.update_connection(
        admin, connection, revision=1, settings=changed, typed={"secret_arguments": {"secret": CANARY}}
    )
    wait_for(connection, EngineState.RUNNING)


def test_only_an_edit_that_concerns_the_engine_starts_it_anew(supervision, admin):
    connection = connect(admin)
    wait_for(connection, EngineState.RUNNING)
    before = supervision.engines()

    changed = {**connection.settings, "runtime_parameters": {"mood": "wild"}}
    services.update_connection(admin, connection, revision=1, settings=changed, options={"name": "Another name"})
    other = connect(admin, name="Other")
    wait_for(other, EngineState.RUNNING)  # so the supervisor has looked since
    assert set(before) < set(supervision.engines())

    changed = {**changed, "at_once": 2}
    services.update_connection(admin, connection, revision=2, settings=changed)
    wait_for(connection, lambda row: not set(before) & set(supervision.engines()))
    wait_for(connection, EngineState.RUNNING)


def test_a_paused_and_a_deleted_connection_have_no_engine(supervision, admin):
    connection = connect(admin)
    wait_for(connection, EngineState.RUNNING)
    (pid,) = supervision.engines()

    services.set_paused(admin, connection, True)
    wait_for(connection, EngineState.STOPPED)
    assert gone(pid)
    services.set_paused(admin, connection, False)
    wait_for(connection, EngineState.RUNNING)
    (pid,) = supervision.engines()
    services.delete_connection(admin, Connection.objects.get())
    assert gone(pid)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_engine_outlives_its_supervisor(supervision, admin, end):
    connection = connect(admin)
    wait_for(connection, EngineState.RUNNING)
    (pid,) = supervision.engines()

    getattr(supervision, end)()

    assert gone(pid)
    if end == "stop":
        assert Engine.objects.get().state == EngineState.STOPPED
        with pytest.raises(EngineStopped):
            connection.provider().check()
    supervision.start()
    wait_for(connection, lambda row: row.state == EngineState.RUNNING and supervision.engines())


def test_a_second_supervisor_on_the_same_folder_refuses(supervision, admin):
    connection = connect(admin)
    wait_for(connection, EngineState.RUNNING)
    environment = {**os.environ, "DATABASE_URL": database_url(), "REDIS_URL": "unix:///nowhere.sock"}

    command = [sys.executable, "manage.py", "up", "--only", "engines"]
    second = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert second.returncode == 1
    assert "already runs on the data folder" in second.stderr
    assert len(supervision.engines()) == 1
