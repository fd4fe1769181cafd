"""M8: a call that is sent again under its Idempotency-Key is not made again."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from access import keys
from access.models import User
from gateway import idempotency
from gateway.http import MAX_WRITE
from gateway.models import KeyedCall, Limit, Usage
from gateway.tasks import forget_answers
from tests.gateway.contract import chat, check_refusal
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"


@pytest.fixture
def mesh(shared_mesh, monkeypatch):
    """It waits longer for a busy database than it would."""
    monkeypatch.setattr(idempotency, "PATIENCE", 30)
    yield shared_mesh
    KeyedCall.objects.all().delete()


def ask(mesh, body=None, name="order-1", path=CHAT, **options):
    return mesh.post(path, body or chat(), headers={"Idempotency-Key": name}, **options)


def replayed(answer):
    return answer.headers.get("idempotent-replayed") == "true"


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_call_gets_the_same_answer_and_is_made_once(mesh, upstream, dialect, stream):
    begun = timezone.now()  # rows of calls that were left by earlier tests may still come
    body = chat(dialect, stream=stream)

    first, second = ask(mesh, body), ask(mesh, body)

    assert (first.status, second.status) == (200, 200)
    assert second.body == first.body
    assert (replayed(first), replayed(second)) == (False, True)
    same = ("content-type", "x-request-id", "x-mesh-model", "x-mesh-connection", "x-mesh-attempts")
    assert [second.headers[name] for name in same] == [first.headers[name] for name in same]
    assert [answer.headers["x-mesh-cache"] for answer in (first, second)] == ["none", "replayed"]
    assert len(upstream.requests) == 1
    assert Usage.objects.filter(at__gte=begun).count() == 1


def test_a_replayed_stream_is_a_stream_to_its_end(mesh, upstream):
    body = chat(stream=True)
    ask(mesh, body)

    again = ask(mesh, body)

    assert again.headers["content-type"].startswith("text/event-stream")
    assert again.events[-1] == "[DONE]"
    assert again.text == "one two three"


def test_heartbeats_are_not_kept(mesh, upstream, monkeypatch):
    monkeypatch.setattr("gateway.http.HEARTBEAT_SECONDS", 0.02)
    upstream.script(Fault.answer(chunks=5, delay=0.1))

    first, second = ask(mesh, chat(stream=True)), ask(mesh, chat(stream=True))

    assert b"keep-alive" in first.body
    assert b"keep-alive" not in second.body
    assert second.chunks == first.chunks


def test_a_long_event_is_kept_whole_however_it_is_written(mesh, upstream):
    upstream.script(Fault.answer(text=":" * 3 * MAX_WRITE))
    body = chat(stream=True)

    first, second = ask(mesh, body), ask(mesh, body)

    assert len(first.body) > 3 * MAX_WRITE
    assert second.body == first.body


@contextmanager
def silent():
    """A database that takes no write, and does not say so."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE gateway_keyedcall IN EXCLUSIVE MODE")
        yield


def test_a_call_is_not_made_while_its_key_cannot_be_held(mesh, upstream, monkeypatch):
    monkeypatch.setattr(idempotency, "PATIENCE", 0.5)
    with silent():
        refused = ask(mesh, name="held up")
    assert upstream.requests == []

    check_refusal(refused, 503, "overloaded")
    assert refused.headers["x-should-retry"] == "true"
    monkeypatch.setattr(idempotency, "PATIENCE", 30)
    _wait_until(lambda: ask(mesh, name="held up").status == 200)  # its hold came late, and was given back


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_kept_when_the_database_is_back(mesh, upstream, monkeypatch, stream):
    upstream.script(Fault.answer(delay=0.2 if stream else 1))
    body = chat(stream=stream)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, mesh, body, name := f"kept late {stream}")
        _wait_until(lambda: upstream.requests)
        monkeypatch.setattr(idempotency, "PATIENCE", 0.5)
        with silent():
            first = asked.result()
            time.sleep(3)  # PostgreSQL gives up waiting for a lock after 3 s
    monkeypatch.setattr(idempotency, "PATIENCE", 30)
    _wait_until(lambda: ask(mesh, body, name).status == 200)

    assert (first.status, replayed(first)) == (200, False)
    assert ask(mesh, body, name).body == first.body
    assert len(upstream.requests) == 1
    _wait_until(lambda: mesh.post(CHAT, chat()).status == 200)  # until the ledger is back too, new calls are refused


def test_another_body_is_refused(mesh, upstream):
    ask(mesh)

    check_refusal(ask(mesh, chat(text="something else")), 422, "idempotency_mismatch", "Idempotency-Key")
    assert len(upstream.requests) == 1


def test_a_call_under_way_is_not_made_beside_itself(mesh, upstream):
    upstream.script(Fault.answer(chunks=5, delay=0.2))
    with mesh.open("POST", CHAT, chat(stream=True), headers={"Idempotency-Key": "order-1"}) as first:
        first.readline()
        second = ask(mesh, chat(stream=True))
        first.read()
    third = ask(mesh, chat(stream=True))

    check_refusal(second, 409, "idempotency_in_flight", "Idempotency-Key")
    assert (second.headers["retry-after"], second.headers["x-should-retry"]) == ("1", "true")
    assert replayed(third)
    assert len(upstream.requests) == 1


FAILURES = {
    "overloaded": (Fault.status(503), False, 503),
    "too many": (Fault.status(429), False, 429),
    "refused by the provider": (Fault.status(400), False, 400),
    "unreadable": (Fault.html(), False, 502),
    "cut before its first event": (Fault.reset_after_head(), True, 503),
    "cut within": (Fault.reset_mid_event(), True, 200),
}


@pytest.mark.parametrize(("fault", "stream", "status"), FAILURES.values(), ids=FAILURES)
def test_what_fails_may_be_tried_again(mesh, upstream, fault, stream, status):
    upstream.script(fault)

    first, second = ask(mesh, chat(stream=stream)), ask(mesh, chat(stream=stream))

    assert first.status == status
    assert b"error" in first.body
    assert (second.status, replayed(second)) == (200, False)
    assert second.text == "one two three"


@pytest.fixture
def limited(mesh):
    Limit.objects.create(scope="all", what="tokens", amount=1, seconds=86400)
    mesh.refresh()
    yield
    Limit.objects.all().delete()
    mesh.refresh()


def test_a_refusal_of_ours_may_be_tried_again(mesh, upstream, limited):
    taking = ask(mesh, name="takes all")
    refused = ask(mesh)
    Limit.objects.all().delete()
    mesh.refresh()

    assert (taking.status, refused.status) == (200, 429)
    assert not replayed(ask(mesh))


def test_a_replay_counts_against_no_limit_and_tells_none(mesh, upstream, limited):
    first, second = ask(mesh), ask(mesh)

    assert (second.status, replayed(second)) == (200, True)
    assert "x-ratelimit-limit-tokens" in first.headers
    assert "x-ratelimit-limit-tokens" not in second.headers


def test_a_client_that_leaves_frees_its_key(mesh, upstream):
    upstream.script(Fault.answer(chunks=50, delay=0.05))
    with mesh.open("POST", CHAT, chat(stream=True), headers={"Idempotency-Key": "order-1"}) as first:
        first.readline()
    assert upstream.requests[0].disconnected.wait(20)
    _wait_until(lambda: not KeyedCall.objects.exists())

    assert not replayed(ask(mesh, chat(stream=True)))
    assert len(upstream.requests) == 2


def test_a_key_belongs_to_its_api_key_and_its_route(mesh, upstream):
    other = keys.issue(User.objects.get(username="caller"), "other", scopes=["generate"])[1]
    mesh.refresh()
    ask(mesh)

    assert not replayed(ask(mesh, key=other))
    embedding = {"model": "openai/text-embedding-3-small", "input": "one"}
    assert ask(mesh, embedding, path="/v1/embeddings").status == 200


WRONG = {"empty": "", "long": "a" * 256, "very long": "a" * 10_000, "tab": "a\tb", "not ASCII": "é"}


@pytest.mark.parametrize("name", WRONG.values(), ids=WRONG)
def test_a_key_that_is_none_is_refused(mesh, upstream, name):
    check_refusal(ask(mesh, name=name), 400, "invalid_value", "Idempotency-Key")
    assert upstream.requests == []


def test_the_longest_key_is_taken(mesh, upstream):
    assert not replayed(ask(mesh, name="a" * 255))
    assert replayed(ask(mesh, name="a" * 255))


def test_an_answer_too_large_to_be_kept_is_not_made_again_either(mesh, upstream):
    upstream.always(Fault.answer(text="a" * idempotency.MAX_KEPT))

    first = ask(mesh)
    second = ask(mesh)

    assert first.status == 200
    check_refusal(second, 409, "idempotency_not_kept", "Idempotency-Key")
    assert second.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == 1
    assert KeyedCall.objects.get().body is None


def test_answers_are_kept_for_a_day_and_then_forgotten(mesh, upstream):
    ask(mesh)
    kept = KeyedCall.objects.get().expires_at - Usage.objects.order_by("at").last().at
    forget_answers()
    assert replayed(ask(mesh))

    KeyedCall.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert not replayed(ask(mesh))
    KeyedCall.objects.update(expires_at=Now() - timedelta(seconds=1))
    forget_answers()

    assert not KeyedCall.objects.exists()
    assert len(upstream.requests) == 2
    assert timedelta(hours=24) <= kept < timedelta(hours=24, minutes=1)


def test_the_hold_is_renewed_for_as_long_as_the_call_takes(mesh, upstream, monkeypatch):
    monkeypatch.setattr(idempotency, "RENEWED", 0.02)
    upstream.script(Fault.answer(chunks=50, delay=0.05))
    with mesh.open("POST", CHAT, chat(stream=True), headers={"Idempotency-Key": "order-1"}) as first:
        first.readline()
        before = KeyedCall.objects.get().expires_at
        _wait_until(lambda: KeyedCall.objects.get().expires_at > max(before, timezone.now()))


def test_a_call_without_a_key_leaves_nothing(mesh, upstream):
    _wait_until(lambda: not KeyedCall.objects.exists())  # those that earlier tests left are being freed
    assert mesh.post(CHAT, chat()).status == 200
    assert not KeyedCall.objects.exists()


def _wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
