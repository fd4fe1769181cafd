"""L4: clients that read slowly or not at all cost a bounded buffer, then the provider waits, then they are cut off."""

import json
import socket
import time

import pytest

from gateway.models import Usage
from tests.gateway.contract import chat
from tests.upstream.faults import Fault

READERS = 6
LARGEST_BUFFER = 256 * 2**10
ENDLESS = Fault.answer(text=("x" * 20_000 + " ") * 3_000)
"""60 MB in 3,000 events."""


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


def stalled_stream(mesh) -> socket.socket:
    """A client with a small buffer that reads nothing but the first bytes."""
    body = json.dumps(chat(stream=True)).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: mesh", f"Authorization: Bearer {mesh.key}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", mesh.port))
    line.sendall("\r\n".join(lines).encode() + body)
    assert line.recv(100).startswith(b"HTTP/1.1 200")
    return line


def buffered(mesh) -> list[int]:
    """Bytes that wait in our process for each client."""
    return [one.transport.get_write_buffer_size() for one in mesh._server.server_state.connections]


def wait_for(condition, patience=20):
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_slow_readers_hold_little_and_let_the_provider_wait(mesh, upstream):
    upstream.always(ENDLESS)
    lines = [stalled_stream(mesh) for _ in range(READERS)]
    largest, sent = 0, [-1]
    while sent != (sent := [request.bytes_sent for request in upstream.requests]):
        for _ in range(20):
            largest = max(largest, *buffered(mesh))
            for line in lines:
                line.recv(1)
            time.sleep(0.02)

    assert 16 * 2**10 < largest <= LARGEST_BUFFER
    assert max(sent) < 40_000_000  # of 60 MB; the kernels' own buffers take what they like
    for line in lines:
        line.close()


def test_who_reads_nothing_for_long_is_cut_off_and_metered(mesh, upstream, monkeypatch):
    monkeypatch.setattr("llmmesh.server.READING_SECONDS", 1.0)
    known = set(Usage.objects.values_list("pk", flat=True))
    upstream.always(ENDLESS)
    lines = [stalled_stream(mesh) for _ in range(READERS)]

    rows = Usage.objects.exclude(pk__in=known)
    wait_for(lambda: rows.count() == READERS)

    assert all(request.disconnected.wait(20) for request in upstream.requests)
    assert {(row.state, row.error_code) for row in rows} == {("cancelled", "client_closed")}
    assert min(row.completion_tokens for row in rows) > 0
    for line in lines:
        line.close()
