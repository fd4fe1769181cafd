"""Streams as their clients use and abuse them. Leaving closes the provider's call at once and is written down."""

import asyncio
import json
import socket
import threading
import time

import pytest

from gateway import http
from gateway.models import Usage
from gateway.pipeline import engine
from tests.gateway.contract import chat, check_refusal
from tests.mesh import parse_answer, read_answer
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
THREE = ["openai", "anthropic", "llamacpp"]
LONG = Fault.answer(chunks=400, delay=0.02)


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


def begin(mesh, dialect, version="HTTP/1.1", stream=True, **fields):
    """A socket on which a call was sent."""
    body = json.dumps(chat(dialect, stream=stream, **fields)).encode()
    lines = [f"POST {CHAT} {version}", "Host: mesh", f"Authorization: Bearer {mesh.key}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    line = mesh.connect()
    line.sendall("\r\n".join(lines).encode() + body)
    return line


def received(line, *awaited):
    """What came until each of `awaited` was there."""
    data = b""
    while not all(text in data for text in awaited):
        piece = line.recv(4096)
        assert piece, f"closed after {data[-200:]!r}"
        data += piece
    return data


def request_id(data):
    return parse_answer(data).headers["x-request-id"]


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def the_only_row(known):
    return wait_for(Usage.objects.exclude(pk__in=known).first)


def check_cancelled(upstream, row):
    [request] = upstream.requests
    assert request.disconnected.wait(20)
    assert (row.state, row.status, row.error_code) == ("cancelled", 499, "client_closed")


@pytest.mark.parametrize("dialect", THREE)
def test_leaving_within_a_stream_closes_the_provider_and_counts_what_came(mesh, upstream, dialect):
    upstream.always(LONG)
    with begin(mesh, dialect) as line:
        data = received(line, b"word3 ")
    left = time.monotonic()

    row = mesh.usage_of(request_id(data))

    assert row is not None and row.stream
    check_cancelled(upstream, row)
    assert upstream.requests[0].disconnected_at - left < 5  # of the 8 s that the stream would take
    [bill] = upstream.billed.values()
    assert 4 <= row.completion_tokens <= bill.completion + 3
    assert row.prompt_tokens > 0


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("stream", [False, True])
def test_leaving_before_the_first_byte_closes_the_provider(mesh, upstream, dialect, stream):
    upstream.always(Fault.silence())
    known = list(Usage.objects.values_list("pk", flat=True))
    with begin(mesh, dialect, stream=stream):
        wait_for(lambda: upstream.requests)

    row = the_only_row(known)
    check_cancelled(upstream, row)
    assert row.prompt_tokens > 0 and row.estimated, "what was sent is billed, and counts in budgets"


class SlowGate:
    """Takes its time, as one does that has to ask another server first."""

    def __init__(self):
        self.asked = threading.Event()

    async def admit(self, accepted, snapshot):
        self.asked.set()
        await asyncio.sleep(0.3)


@pytest.fixture
def slow_gate(mesh):
    running, gate = asyncio.run_coroutine_threadsafe(engine(), mesh._loop).result(10), SlowGate()
    running.gates.append(gate)
    yield gate
    running.gates.remove(gate)


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_while_the_call_is_let_in_is_noticed(mesh, upstream, slow_gate, stream):
    upstream.always(Fault.silence())
    known = list(Usage.objects.values_list("pk", flat=True))
    with begin(mesh, "openai", stream=stream):
        assert slow_gate.asked.wait(30)

    row = the_only_row(known)
    assert (row.state, row.status, row.error_code) == ("cancelled", 499, "client_closed")
    assert all(request.disconnected.wait(20) for request in upstream.requests)


def test_leaving_after_one_event(mesh, upstream):
    upstream.always(LONG)
    with begin(mesh, "openai") as line:
        data = received(line, b"data: ")

    check_cancelled(upstream, mesh.usage_of(request_id(data)))


def test_leaving_after_the_usage_keeps_the_tokens_told(mesh, upstream):
    upstream.always(Fault.stalls(-1, cached=2))
    with begin(mesh, "openai", stream_options={"include_usage": True}) as line:
        data = received(line, b'"prompt_tokens"')

    row = mesh.usage_of(request_id(data))
    check_cancelled(upstream, row)
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.estimated) == (5, 3, 2, False)


def test_a_slow_reader_gets_everything(mesh, upstream):
    with begin(mesh, "openai") as line:
        data = b"".join(line.recv(1) for _ in range(200) if not time.sleep(0.005))
        answer = data + read_answer(line)

    assert answer.count(b"[DONE]") == 1
    assert mesh.usage_of(request_id(answer)).state == "ok"


def test_a_reader_that_stops_reading_holds_up_nobody(mesh, upstream):
    upstream.always(Fault.answer(text=("x" * 20_000 + " ") * 6_000))
    with begin(mesh, "openai") as line:
        received(line, b"xxx")
        stalled = came_to_rest(upstream.requests[0])
        upstream.always(None)
        assert mesh.post(CHAT, chat()).text == "one two three"
        assert stalled < 80_000_000  # of 120 MB; the kernels' own buffers take what they like


def came_to_rest(request):
    """The bytes that the upstream could send until nobody took any more."""
    sent = -1
    while sent < request.bytes_sent:
        sent = request.bytes_sent
        time.sleep(0.5)
    return sent


def test_a_client_that_closes_its_sending_half_is_answered_or_written_down(mesh, upstream):
    known = list(Usage.objects.values_list("pk", flat=True))
    with begin(mesh, "openai") as line:
        line.shutdown(socket.SHUT_WR)
        read_answer(line)

    assert the_only_row(known).state in {"ok", "cancelled"}


@pytest.mark.parametrize("dialect", THREE)
def test_an_old_client_gets_a_stream_that_ends_with_the_connection(mesh, upstream, dialect):
    with begin(mesh, dialect, version="HTTP/1.0") as line:
        data = b"".join(iter(lambda: line.recv(65536), b""))

    assert data.startswith(b"HTTP/1.1 200")
    assert data.count(b"data: [DONE]\n\n") == 1


@pytest.mark.parametrize("value", ["true", 1, "yes", [], {}])
def test_stream_must_be_true_or_false(mesh, upstream, value):
    check_refusal(mesh.post(CHAT, chat(stream=value)), 400, "invalid_value", "stream")
    assert upstream.requests == []


@pytest.mark.parametrize("options", [{"include_usage": "yes"}, {"whatever": True}, [], "include_usage"])
def test_bad_stream_options_are_refused(mesh, upstream, options):
    check_refusal(mesh.post(CHAT, chat(stream=True, stream_options=options)), 400, "invalid_value", "stream_options")
    assert upstream.requests == []


@pytest.mark.parametrize("dialect", THREE)
def test_usage_comes_only_when_asked_for(mesh, upstream, dialect):
    plain = mesh.post(CHAT, chat(dialect, stream=True))
    asked = mesh.post(CHAT, chat(dialect, stream=True, stream_options={"include_usage": True}))

    assert not [chunk for chunk in plain.chunks if chunk.get("usage")]
    [last] = [chunk for chunk in asked.chunks if chunk.get("usage")]
    assert last == asked.chunks[-1]
    assert (last["choices"], last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == ([], 3, 3)


@pytest.mark.parametrize("dialect", THREE)
def test_events_are_passed_on_as_they_come(mesh, upstream, dialect):
    rest = threading.Event()
    upstream.always(Fault.held(rest, after=4, chunks=4))
    with begin(mesh, dialect) as line:
        data = received(line, b"word0 ")
        time.sleep(0.35)
        rest.set()
        data += received(line, b"[DONE]")

    row = mesh.usage_of(request_id(data))
    assert row.first_token_ms < row.total_ms - 300


def test_a_silent_stream_is_kept_alive_with_comments(mesh, upstream, monkeypatch):
    monkeypatch.setattr(http, "HEARTBEAT_SECONDS", 0.1)
    upstream.always(Fault.answer(chunks=2, delay=0.35))

    answer = mesh.post(CHAT, chat(stream=True))

    assert answer.body.count(b": keep-alive\n\n") >= 2
    assert answer.text == "word0 word1"


def test_a_hundred_streams_at_once_are_all_whole(mesh, upstream):
    upstream.always(Fault.answer(chunks=10, delay=0.02))
    lines = [begin(mesh, THREE[number % 3]) for number in range(100)]
    answers = [read_answer(line) for line in lines]
    for line in lines:
        line.close()

    assert [answer.count(b"[DONE]") for answer in answers] == [1] * 100
    rows = Usage.objects.filter(request_id__in=[request_id(answer) for answer in answers])
    assert sorted({(row.state, row.completion_tokens) for row in rows}) == [("ok", 10)]
    assert len(rows) == 100


def test_the_usage_row_is_there_when_the_stream_ends(mesh, upstream):
    """The last bytes wait for the commit; no answer is acknowledged without its row."""
    for _ in range(5):
        assert mesh.usage(mesh.post(CHAT, chat(stream=True)), within=0) is not None
        assert mesh.usage(mesh.post(CHAT, chat()), within=0) is not None


def test_a_model_that_thinks_for_long_gets_a_heartbeat(mesh, upstream, monkeypatch):
    monkeypatch.setattr("gateway.http.HEARTBEAT_SECONDS", 0.2)
    upstream.script(Fault.answer(text="At last.", delay=0.5))

    answer = mesh.post(CHAT, chat("openai", stream=True))

    assert answer.status == 200
    assert b": keep-alive\n\n" in answer.body.partition(b"data:")[0]
    assert answer.text == "At last."
    assert answer.events[-1] == "[DONE]"


def test_a_failure_after_the_first_heartbeat_is_an_event(mesh, upstream, monkeypatch):
    monkeypatch.setattr("gateway.http.HEARTBEAT_SECONDS", 0.2)
    upstream.script(Fault.not_json(after=0, delay=0.5))

    answer = mesh.post(CHAT, chat("openai", stream=True))

    assert answer.status == 200
    assert b"event: error\ndata: " in answer.body
    assert b"[DONE]" not in answer.body
