"""The live list: rows reach an open page when something changes, over real HTTP."""

import os
import socket
import subprocess
import time
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.models import User
from access.roles import Role
from connections import events, health
from connections.models import Connection, State
from llmmesh import processes
from tests.conftest import make_user
from tests.mesh import Mesh
from tests.workers import database_url

FAILED = health.Finding(State.FAILING, "It is down. Wait.")
BEFORE = timezone.now() - timedelta(hours=1)


class Page:
    """An open list: what the stream says, line by line."""

    def __init__(self, mesh, user: User, **headers: str) -> None:
        client = Client()
        client.force_login(user)
        self.session = client.session.session_key
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
        self.answer = mesh.open("GET", reverse("connection-events"), headers={"cookie": cookies, **headers})
        assert self.answer.readline() == b": connected\n"

    def until(self, text: str, within: float = 30.0) -> str:
        """All that was said up to the line that holds `text`."""
        said, ends = "", time.monotonic() + within
        while time.monotonic() < ends:
            line = self.answer.readline().decode()
            assert line, f"the stream ended after {said!r}"
            said += line
            if text in line:
                return said
        raise AssertionError(f"not within {within} s: {text!r}, only {said!r}")

    def close(self) -> None:
        self.answer.close()


@pytest.fixture
def open_page(mesh):
    pages = []

    def make(user: User, **headers: str) -> Page:
        pages.append(Page(mesh, user, **headers))
        return pages[-1]

    yield make
    for page in pages:
        page.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(events, "POLL", 0.1)


@pytest.fixture
def main(connect):
    """A connection that nothing happened to for an hour."""
    connection = connect("openai", name="Main")
    Connection.objects.update(updated_at=BEFORE)
    return connection


@pytest.fixture
def valkey(tmp_path, settings, monkeypatch):
    """A real server for messages, and no looking without one."""
    monkeypatch.setattr(events, "PATIENCE", 60)
    socket = tmp_path / "valkey.sock"
    child = processes.valkey({}, socket)
    server = subprocess.Popen(child.command, start_new_session=True)
    while not socket.exists():
        time.sleep(0.02)
    settings.REDIS_URL = f"unix://{socket}"
    yield server
    settings.REDIS_URL = ""
    server.kill()
    server.wait()


def test_a_check_reaches_the_open_list(open_page, olga, main):
    page = open_page(olga)

    health.record(main, FAILED)

    said = page.until(str(main.pk))
    assert "data: " in said
    assert "hx-swap-oob" in said + page.until("\n")


def test_pausing_reaches_the_open_list(open_page, olga, main):
    page = open_page(olga)

    Connection.objects.update(paused=True)

    page.until(str(main.pk))


def test_a_message_brings_the_row_at_once(valkey, open_page, olga, main):
    page = open_page(olga)
    time.sleep(0.5)  # the first look is over, the next one would come after a minute

    health.record(main, FAILED)

    page.until(str(main.pk))


def test_without_the_message_server_the_list_goes_on(valkey, open_page, olga, main):
    page = open_page(olga)
    valkey.kill()
    valkey.wait()

    health.record(main, FAILED)

    page.until(str(main.pk))


def test_what_changed_while_the_stream_was_broken_is_sent_again(open_page, olga, main):
    health.record(main, FAILED)
    Connection.objects.update(checked_at=BEFORE + timedelta(minutes=10))

    seen_before = str((BEFORE + timedelta(minutes=5)).timestamp())
    seen_after = str((BEFORE + timedelta(minutes=15)).timestamp())

    open_page(olga, **{"last-event-id": seen_before}).until(str(main.pk))
    page = open_page(olga, **{"last-event-id": seen_after})
    Connection.objects.update(name="Renamed", revision=5)
    assert "Renamed" in page.until("Renamed")


@pytest.mark.parametrize("nonsense", ["x", "nan", "1e400", "-1e20", "inf"])
def test_a_strange_last_event_id_is_ignored(open_page, olga, main, nonsense):
    page = open_page(olga, **{"last-event-id": nonsense})

    health.record(main, FAILED)

    page.until(str(main.pk))


def test_a_quiet_stream_gives_signs_of_life(monkeypatch, open_page, olga):
    monkeypatch.setattr(events, "HEARTBEAT", 0.2)

    open_page(olga).until(": still here", within=10)


def end_session(page: Page, user: User) -> None:
    Session.objects.filter(session_key=page.session).delete()


def change_role(page: Page, user: User) -> None:
    User.objects.filter(pk=user.pk).update(role=Role.ANALYST)


def switch_off(page: Page, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(page: Page, user: User) -> None:
    user.set_password("another correct horse")
    user.save()


@pytest.mark.parametrize("happens", [end_session, change_role, switch_off, change_password])
def test_the_stream_ends_with_the_right_to_look(open_page, olga, main, happens):
    page = open_page(olga)

    happens(page, olga)
    page.until("event: done")
    health.record(main, FAILED)

    assert str(main.pk) not in page.answer.read().decode()


def test_only_who_sees_connections_may_listen(client, alice):
    assert client.get(reverse("connection-events")).status_code == 302
    client.force_login(alice)
    assert client.get(reverse("connection-events")).status_code == 403


def test_an_open_list_does_not_keep_a_server_from_stopping(transactional_db, olga):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        environment = {**os.environ, "DATABASE_URL": database_url()}
        command = processes.web(environment, listening)[0].command
        server = subprocess.Popen(command, env=environment, pass_fds=[listening.fileno()])
        mesh = Mesh()
        mesh.port = listening.getsockname()[1]
        page = Page(mesh, olga)

        server.terminate()
        server.wait(20)  # a stream of a model would have 30 s
        page.close()


def test_open_lists_hold_no_database_connection(open_page, mesh, olga, main):
    """More lists than the pool has connections."""
    pages = [open_page(olga) for _ in range(14)]

    health.record(main, FAILED)

    for page in pages:
        page.until(str(main.pk))
    assert make_user("another").pk
