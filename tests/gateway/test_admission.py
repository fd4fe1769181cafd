"""L2: a process takes no more calls than it has room for; the rest are refused at once, and probes never."""

import time

import pytest

from gateway import admission
from gateway.models import Usage
from tests.gateway.contract import chat, check_refusal
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
ROOM = 3


@pytest.fixture
def mesh(shared_mesh, monkeypatch):
    wait_until_empty()
    monkeypatch.setattr(admission.calls, "room", ROOM)
    return shared_mesh


def wait_until_empty(inside=0):
    deadline = time.monotonic() + 30
    while len(admission.calls.inside) > inside:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def full(mesh, upstream):
    """As many streams as there is room for."""
    upstream.always(Fault.answer(chunks=1000, delay=0.05))
    streams = [mesh.open("POST", CHAT, chat(stream=True)) for _ in range(ROOM)]
    yield streams
    for stream in streams:
        stream.close()
    wait_until_empty()


def test_a_call_beyond_the_room_is_refused_before_anything_else(mesh, upstream, full):
    before = Usage.objects.count()

    for answer in (mesh.post(CHAT, chat()), mesh.get("/v1/models"), mesh.post(CHAT, b"{" * 10_000, key="")):
        check_refusal(answer, 503, "overloaded")
        assert answer.headers["x-should-retry"] == "true"

    assert len(upstream.requests) == ROOM
    assert Usage.objects.count() == before


def test_probes_are_answered_by_a_full_process(mesh, full, monkeypatch):
    monkeypatch.setattr(admission.pages, "room", 0)

    assert mesh.get("/healthz").json == {"status": "ok"}
    assert mesh.get("/readyz").json == {"status": "ok"}
    assert b"python_info" in mesh.get("/metrics").body


def test_a_refused_client_may_ask_again_on_its_connection(mesh, upstream, full):
    request = f"GET /v1/models HTTP/1.1\r\nHost: mesh\r\nAuthorization: Bearer {mesh.key}\r\n\r\n".encode()
    with mesh.connect() as line:
        line.sendall(request)
        assert line.recv(65536).startswith(b"HTTP/1.1 503")
        full.pop().close()
        wait_until_empty(inside=ROOM - 1)
        line.sendall(request)
        assert line.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (None, chat()),
        (None, chat(stream=True)),
        (None, chat(model=7)),
        (Fault.status(500), chat()),
        (Fault.no_done(), chat(stream=True)),
    ],
    ids=["answered", "streamed", "refused", "failed", "broken off"],
)
def test_whatever_becomes_of_a_call_it_gives_its_place_back(mesh, upstream, fault, body):
    upstream.always(fault)

    for _ in range(ROOM + 1):
        assert mesh.post(CHAT, body).status != 503 or fault is not None

    wait_until_empty()


def test_a_client_that_leaves_gives_its_place_back(mesh, upstream):
    upstream.always(Fault.silence())
    for _ in range(ROOM):
        with mesh.connect() as line:
            body = b'{"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}'
            head = f"POST {CHAT} HTTP/1.1\r\nHost: mesh\r\nAuthorization: Bearer {mesh.key}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            line.sendall(head.encode() + body)
            while not admission.calls.inside:
                time.sleep(0.01)
    wait_until_empty()

    upstream.always(None)
    assert mesh.post(CHAT, chat()).status == 200


@pytest.mark.parametrize("path", ["/api/models/", "/accounts/login/"])
def test_pages_have_a_room_of_their_own(mesh, upstream, monkeypatch, path):
    monkeypatch.setattr(admission.pages, "room", 0)

    answer = mesh.get(path)

    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert b"Too many requests" in answer.body
    if path.startswith("/api/"):
        check_refusal(answer, 503, "overloaded")
    assert mesh.post(CHAT, chat()).status == 200
