"""Connections of clients of `/v1`: what is kept, what is closed, and in which order it is answered."""

import json
import select
import time

import pytest

from tests.gateway.contract import chat
from tests.mesh import Mesh, parse_answer, read_answer
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
PAGE = b"GET /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def mesh(shared_mesh: Mesh) -> Mesh:
    return shared_mesh


def call(
    mesh: Mesh, text: str = "one two three", *lines: str, version: str = "HTTP/1.1", stream: bool = False
) -> bytes:
    body = json.dumps(chat(text=text, stream=stream))
    head = [f"POST {CHAT} {version}", "Host: mesh", f"Authorization: Bearer {mesh.key}", *lines]
    head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", body]).encode()


def all_of(mesh: Mesh, data: bytes) -> bytes:
    """What comes until the server closes."""
    with mesh.connect() as line:
        line.sendall(data)
        return b"".join(iter(lambda: line.recv(65536), b""))


def test_calls_that_are_sent_at_once_are_answered_in_order(mesh, upstream):
    upstream.script(Fault.answer(text="first", delay=0.4), Fault.answer(text="second"), Fault.answer(text="third"))

    data = all_of(mesh, call(mesh) + call(mesh, stream=True) + call(mesh, "x", "Connection: close"))

    first, second, third = data.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b'"first"' in first and b'"third"' in third
    assert second.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert (b"connection: close" in second, b"connection: close" in third) == (False, True)


def test_calls_and_pages_share_a_connection(mesh, upstream):
    upstream.script(Fault.answer(delay=0.3))

    data = all_of(mesh, call(mesh) + PAGE + call(mesh) + PAGE + call(mesh, "x", "Connection: close"))

    kinds = [part.partition(b"content-type: ")[2][:9] for part in data.lower().split(b"http/1.1 200 ok\r\n")[1:]]
    assert kinds == [b"applicati", b"text/html", b"applicati", b"text/html", b"applicati"]


def test_a_call_after_the_last_one_is_not_made(mesh, upstream):
    all_of(mesh, call(mesh, "x", "Connection: close") + call(mesh))

    assert len(upstream.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_who_closes_after_the_answer_is_closed_with(mesh, upstream, stream):
    answer = parse_answer(all_of(mesh, call(mesh, "x", "Connection: close", stream=stream)))

    assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_an_old_client_gets_a_plain_stream(mesh, upstream):
    answer = parse_answer(all_of(mesh, call(mesh, version="HTTP/1.0", stream=True)))

    assert "transfer-encoding" not in answer.headers
    assert answer.body.startswith(b"data: {")
    assert answer.body.endswith(b"}\n\ndata: [DONE]\n\n")


def test_an_old_client_gets_one_answer_and_the_end(mesh, upstream):
    answer = parse_answer(all_of(mesh, call(mesh, version="HTTP/1.0")))

    assert (answer.text, answer.headers["connection"]) == ("one two three", "close")


def test_a_refusal_before_the_body_does_not_ask_for_it(mesh, upstream):
    body = b"{}"
    head = f"POST {CHAT} HTTP/1.1\r\nHost: mesh\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    with mesh.connect() as line:
        line.sendall(head.encode())
        assert line.recv(65536).startswith(b"HTTP/1.1 401")
        line.sendall(body + call(mesh))  # it sent the body all the same
        assert read_answer(line).startswith(b"HTTP/1.1 200")


def test_a_refused_body_is_not_taken_for_the_next_request(mesh, upstream):
    text = "x" * 100_000
    with mesh.connect() as line:
        line.sendall(call(mesh, text).replace(b"Bearer mesh_", b"Bearer mess_"))
        assert read_answer(line).startswith(b"HTTP/1.1 401")
        line.sendall(call(mesh))
        assert parse_answer(read_answer(line)).text == "one two three"


def test_a_large_body_is_read_piece_by_piece(mesh, upstream):
    data = call(mesh, "word " * 200_000)
    with mesh.connect() as line:
        for start in range(0, len(data), 150_000):
            line.sendall(data[start : start + 150_000])
            time.sleep(0.02)
        assert read_answer(line).startswith(b"HTTP/1.1 200")

    assert upstream.requests[0].json["messages"][0]["content"] == "word " * 200_000


def test_a_head_request_gets_no_more_than_the_head(mesh, upstream):
    asked = f"HEAD {CHAT} HTTP/1.1\r\nHost: mesh\r\n\r\n".encode()

    refused, answered = all_of(mesh, asked + call(mesh, "x", "Connection: close")).split(b"HTTP/1.1 ")[1:]

    assert (refused[:3], answered[:3]) == (b"405", b"200")
    assert refused.endswith(b"\r\n\r\n")


def test_an_answer_tells_the_date_and_nothing_of_the_server(mesh, upstream):
    answer = mesh.post(CHAT, chat())

    assert answer.headers["date"].endswith(" GMT")
    assert "server" not in answer.headers


def test_a_kept_connection_is_closed_when_nothing_more_comes(mesh, upstream, monkeypatch):
    monkeypatch.setattr(mesh._server.config, "timeout_keep_alive", 0.5)
    with mesh.connect() as line:
        for _ in range(3):
            line.sendall(call(mesh))
            assert read_answer(line).startswith(b"HTTP/1.1 200")
            time.sleep(0.3)
        upstream.script(Fault.answer(delay=1))
        line.sendall(call(mesh))
        assert read_answer(line).startswith(b"HTTP/1.1 200")
        answered = time.monotonic()
        assert select.select([line], [], [], 5)[0] and line.recv(1) == b""

    assert 0.4 < time.monotonic() - answered < 2


def test_a_connection_is_not_kept_for_ever_after_a_body_that_was_refused(mesh, upstream, monkeypatch):
    monkeypatch.setattr(mesh._server.config, "timeout_keep_alive", 0.5)
    with mesh.connect() as line:
        line.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: mesh\r\nContent-Length: 10\r\n\r\n".encode())
        assert read_answer(line).startswith(b"HTTP/1.1 401")
        line.sendall(b"0123456789")

        assert select.select([line], [], [], 5)[0] and line.recv(1) == b""
