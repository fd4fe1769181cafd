"""Heads that are broken, too large or never end."""

import json
import select
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.mesh import Mesh

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        HEAD + b"".join(b"X-%d: %b\r\n" % (number, b"y" * 1000) for number in range(100)) + b"\r\n",
        b"HELLO\r\n\r\n",
    ],
)
def test_a_broken_head_is_refused_in_the_contracts_shape(mesh: Mesh, data: bytes):
    head, _, body = mesh.raw(data).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_a_head_that_never_ends_is_cut_off(mesh: Mesh, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmmesh.server.HEAD_SECONDS", 0.5)
    started = time.monotonic()

    with mesh.connect() as line:
        line.sendall(HEAD)
        answer = line.recv(1)

    assert answer == b""
    assert 0.3 < time.monotonic() - started < 15


def test_a_head_that_trickles_in_is_cut_off(mesh: Mesh, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmmesh.server.HEAD_SECONDS", 0.5)
    with mesh.connect() as line:
        sent = 0
        with suppress(ConnectionError):
            for byte in HEAD * 10:
                line.sendall(bytes([byte]))
                sent += 1
                time.sleep(0.05)

    assert 0 < sent < len(HEAD * 10)


def test_a_kept_connection_is_not_cut_off(mesh: Mesh, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmmesh.server.HEAD_SECONDS", 0.3)

    with mesh.connect() as line:
        for _ in range(2):
            line.sendall(HEAD + b"\r\n")
            assert line.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.6)


def test_a_client_that_reads_nothing_is_cut_off(mesh: Mesh, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmmesh.server.READING_SECONDS", 0.3)
    large = b"GET /static/vendor/tabler-1.6.1/tabler.min.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    with mesh.connect() as line:
        line.sendall(large * 60)
        time.sleep(0.5)
        wait_for(lambda: not mesh._server.server_state.connections)
        answer = received(line)

    assert 0 < answer.count(b"HTTP/1.1 200") < 60


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmmesh.server.BODY_SECONDS", 0.3)


def test_a_body_that_never_ends_is_refused(mesh: Mesh, slow: None):
    head = b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nname="

    assert mesh.raw(head).startswith(b"HTTP/1.1 408 ")


POST = b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"


def test_a_body_that_trickles_in_is_refused(mesh: Mesh, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmmesh.server.STRIDE", 0.5)
    with mesh.connect() as line:
        line.sendall(POST % 10_000)
        for _ in range(30):
            line.sendall(b"x")
            time.sleep(0.1)
            if select.select([line], [], [], 0)[0]:
                break
        answer = line.recv(65536)

    assert answer.startswith(b"HTTP/1.1 408 ") and b"request_timeout" in answer


def test_a_body_that_comes_at_a_fair_pace_is_waited_for(mesh: Mesh, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmmesh.server.STRIDE", 0.7)
    with mesh.connect() as line:
        line.sendall(POST % 60_000)
        for _ in range(20):
            line.sendall(b"x" * 3_000)
            time.sleep(0.1)
        answer = line.recv(65536)

    assert answer.startswith(b"HTTP/1.1 403 ")  # the whole form came, but not its token


def first(line) -> bytes:
    """What comes first; nothing, where the other side has closed, however the kernel says so."""
    with suppress(ConnectionError):
        return line.recv(65536)
    return b""


def test_idle_connections_make_room_for_new_ones(mesh: Mesh, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmmesh.server.MAX_CONNECTIONS", 3)
    lines = [mesh.connect() for _ in range(6)]
    for line in lines:
        with suppress(ConnectionError):
            line.sendall(HEAD + b"\r\n")
    answers = [first(line) for line in lines]
    wait_for(lambda: len(mesh._server.server_state.connections) == 3)
    closed = [line for line in lines if select.select([line], [], [], 0.1)[0]]

    assert answers[-1].startswith(b"HTTP/1.1 200")
    assert len(closed) == 3
    for line in lines:
        line.close()


def test_a_chunked_body_that_grows_too_large_is_refused(mesh: Mesh, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llmmesh.asgi.MAX_BODY", 1000)
    head = b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert mesh.raw(head + b"400\r\n" + b"x" * 0x400 + b"\r\n").startswith(b"HTTP/1.1 413 ")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def received(line) -> bytes:
    """All that comes until the other side is gone."""
    data = b""
    try:
        while piece := line.recv(2**20):
            data += piece
    except ConnectionError:
        pass
    return data
