"""What fails for the moment is asked again: seldom, soon, and never once the caller has got something."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group
from hypothesis import given
from hypothesis import strategies as st

from access.models import EVERYONE, User
from connections.models import Connection, Price
from connections.transport import Timeouts
from gateway import accepted, breaker, retries
from gateway.models import Attempt, Usage
from tests.gateway.contract import chat, check_refusal
from tests.gateway.test_streams import begin, wait_for
from tests.mesh import MODELS, make_connection
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def twice(shared_mesh, upstream_server):
    """A connection as the product makes it: with two retries."""
    default = Connection._meta.get_field("retries").default
    everyone = Group.objects.get(name=EVERYONE)
    models = {MODELS["openai"]: "chat", "gpt-4o": "chat"}
    make_connection(upstream_server, "openai", models, everyone, name="twice", retries=default)
    shared_mesh.refresh()
    return shared_mesh


@pytest.fixture
def mesh(twice):
    return twice


def ask(mesh, model=MODELS["openai"], **fields):
    return mesh.post(CHAT, chat(**fields) | {"model": f"twice/{model}"})


def tried(answer):
    found = Attempt.objects.filter(usage__request_id=answer.headers["x-request-id"])
    return list(found.values_list("number", "state", "error_code", "upstream_status"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [Fault.status(500), Fault.status(429), Fault.status(529)], ids=lambda one: one.name)
def test_a_failure_of_the_moment_is_not_seen(mesh, upstream, stream, fault):
    upstream.script(fault, fault)

    answer = ask(mesh, stream=stream)

    assert answer.text == "one two three"
    assert len(upstream.requests) == 3
    assert answer.headers["x-mesh-attempts"] == "3"
    assert (answer.headers["x-mesh-connection"], answer.headers["x-mesh-model"]) == ("twice", "twice/gpt-4o-mini")
    row = mesh.usage(answer)
    assert (row.state, row.prompt_tokens, row.completion_tokens) == ("ok", 3, 3)
    assert [(number, state) for number, state, _, _ in tried(answer)] == [(1, "error"), (2, "error"), (3, "ok")]
    assert tried(answer)[0][3] == int(fault.name.removeprefix("status_"))


def test_a_call_that_works_at_once_has_no_attempts_written_down(mesh, upstream):
    answer = ask(mesh)

    assert answer.headers["x-mesh-attempts"] == "1"
    assert tried(answer) == []


def test_the_ledger_shows_the_attempts(mesh, upstream, client):
    upstream.script(Fault.status(503))
    answer = ask(mesh)
    mesh.usage(answer)

    path = f"/api/usage/?request_id={answer.headers['x-request-id']}"
    [row] = mesh.get(path).json["results"]

    assert [(one["number"], one["model"], one["upstream_status"]) for one in row["attempts"]] == [
        (1, "twice/gpt-4o-mini", 503),
        (2, "twice/gpt-4o-mini", None),
    ]
    client.force_login(User.objects.get(username="caller"))
    assert b"2 attempts: twice/gpt-4o-mini 503 upstream_unavailable after" in client.get("/usage/").content


def test_two_retries_are_the_most(mesh, upstream):
    upstream.always(Fault.status(503))

    answer = ask(mesh)

    check_refusal(answer, 503, "upstream_unavailable")
    assert len(upstream.requests) == 3
    assert answer.headers["x-mesh-attempts"] == "3"
    assert tried(answer) == [(number, "error", "upstream_unavailable", 503) for number in (1, 2, 3)]


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_connection_may_allow_fewer(mesh, upstream, allowed):
    everyone = Group.objects.get(name=EVERYONE)
    connection = make_connection(upstream, "openai", None, everyone, name=f"allows-{allowed}", retries=allowed)
    mesh.refresh()
    upstream.always(Fault.status(503))

    mesh.post(CHAT, chat() | {"model": f"{connection.slug}/{MODELS['openai']}"})

    assert len(upstream.requests) == 1 + allowed


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [*map(Fault.status, (400, 401, 403, 404, 422)), Fault.html()], ids=lambda f: f.name)
def test_what_somebody_has_to_mend_is_asked_once(mesh, upstream, stream, fault):
    upstream.always(fault)

    answer = ask(mesh, stream=stream)

    assert len(upstream.requests) == 1
    assert [state for _, state, _, _ in tried(answer)] == ["error"]


def test_nothing_is_asked_again_once_the_stream_has_begun(mesh, upstream):
    upstream.script(Fault.reset_mid_event(5))

    answer = ask(mesh, stream=True)

    assert b"event: error" in answer.body
    assert len(upstream.requests) == 1


def test_a_stream_that_is_cut_before_its_first_event_is_asked_again(mesh, upstream):
    upstream.script(Fault.reset_after_head())

    answer = ask(mesh, stream=True)

    assert answer.text == "one two three"
    assert answer.headers["x-mesh-attempts"] == "2"


def test_nothing_is_asked_again_after_the_first_heartbeat(mesh, upstream, monkeypatch):
    monkeypatch.setattr("gateway.http.HEARTBEAT_SECONDS", 0.1)
    upstream.script(Fault.not_json(after=0, delay=0.4))

    answer = ask(mesh, stream=True)

    assert b"event: error" in answer.body
    assert len(upstream.requests) == 1


def test_the_provider_is_not_asked_earlier_than_it_wishes(mesh, upstream):
    upstream.script(Fault.status(429, retry_after="1"))

    answer = ask(mesh)

    assert answer.text == "one two three"
    assert mesh.usage(answer).total_ms >= 1000


def test_a_wait_beyond_the_deadline_is_the_callers_to_make(mesh, upstream, monkeypatch):
    monkeypatch.setattr(accepted, "TIMEOUTS", Timeouts(total=5.0))
    upstream.always(Fault.status(429, retry_after="7"))

    answer = ask(mesh)

    check_refusal(answer, 429, "rate_limit_exceeded")
    assert answer.headers["retry-after"] == "7"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_retries_do_not_outlive_the_deadline(mesh, upstream, monkeypatch, stream):
    monkeypatch.setattr(accepted, "TIMEOUTS", Timeouts(total=1.5))
    upstream.script(Fault.status(500))
    upstream.always(Fault.silence())

    answer = ask(mesh, stream=stream)

    check_refusal(answer, 504, "upstream_timeout")
    assert mesh.usage(answer).total_ms < 15_000
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_asked_again_for_a_client_that_has_left(mesh, upstream, stream):
    upstream.script(Fault.status(429, retry_after="15"))
    known = list(Usage.objects.values_list("pk", flat=True))
    with begin(mesh, "openai", stream=stream, model="twice/gpt-4o-mini"):
        wait_for(lambda: upstream.requests and upstream.requests[0].bytes_sent)

    row = wait_for(Usage.objects.exclude(pk__in=known).first)
    assert (row.state, row.error_code) == ("cancelled", "client_closed")
    assert len(upstream.requests) == 1


def test_an_upstream_that_only_fails_is_hardly_asked_more_often(mesh, upstream, monkeypatch):
    """With the breaker out of the way: 1.2 times what callers ask, and the few retries that are there to begin with."""
    monkeypatch.setattr(breaker, "IN_A_ROW", 10**9)
    monkeypatch.setattr(breaker, "LEAST", 10**9)
    upstream.always(Fault.status(500))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(mesh), range(60)))

    assert {answer.status for answer in answers} == {503}
    assert 60 < len(upstream.requests) <= 60 * 1.2 + retries.RESERVE


def test_an_upstream_that_only_fails_is_left_alone(mesh, upstream):
    upstream.always(Fault.status(500))

    answers = [ask(mesh) for _ in range(50)]

    assert len(upstream.requests) == breaker.IN_A_ROW
    refused = answers[-1]
    check_refusal(refused, 503, "upstream_unavailable")
    assert 25 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-mesh-attempts"] == "0"
    row = mesh.usage(refused)
    assert (row.error_code, row.cost, row.attempts.count()) == ("upstream_unavailable", 0, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_the_breaker_of_one_model_leaves_the_others_alone(mesh, upstream, stream):
    upstream.always(Fault.status(500))
    for _ in range(5):
        ask(mesh, stream=stream)
    upstream.always(None)

    assert ask(mesh, stream=stream).status == 503
    assert ask(mesh, "gpt-4o", stream=stream).text == "one two three"


def test_callers_mistakes_do_not_open_the_breaker(mesh, upstream):
    upstream.always(Fault.status(400))
    for _ in range(30):
        ask(mesh)
    upstream.always(None)

    assert ask(mesh).text == "one two three"


def test_a_changed_connection_is_tried_at_once(mesh, upstream):
    upstream.always(Fault.status(500))
    for _ in range(5):
        ask(mesh)
    upstream.always(None)
    assert ask(mesh).status == 503
    connection = Connection.objects.get(name="twice")
    connection.store_credential({"api_key": upstream.key})
    connection.save()
    mesh.refresh()

    assert ask(mesh).text == "one two three"


def test_what_a_failed_attempt_was_billed_is_in_the_calls_cost(mesh, upstream):
    """Embeddings in two parts, one of which fails: the other one is billed again with the second attempt."""
    upstream.script(Fault.answer(), Fault.status(500))
    settings = {"base_url": upstream.url("compatible"), "max_inputs": 2}
    models, everyone = {"local-embed": "embedding"}, Group.objects.get(name=EVERYONE)
    connection = make_connection(upstream, "compatible", models, everyone, name="parts", settings=settings, retries=2)
    Price.objects.create(
        model=connection.models.get(), amounts={"input": "1000"}, starts=datetime(2020, 1, 1, tzinfo=UTC)
    )
    mesh.refresh()

    answer = mesh.post("/v1/embeddings", {"model": "parts/local-embed", "input": ["one two", "three", "four"]})

    row = mesh.usage(answer)
    assert answer.status == 200
    first, last = row.attempts.all()
    assert first.prompt_tokens > 0
    assert row.prompt_tokens == sum(bill.prompt for bill in upstream.billed.values())
    assert row.prompt_tokens == first.prompt_tokens + last.prompt_tokens
    assert row.cost == first.cost + last.cost > last.cost > 0


@given(st.lists(st.sampled_from(["call", "retry"]), max_size=300))
def test_the_budget_is_a_fifth_of_the_calls(events):
    budget, calls, made = retries.Budget(), 0, 0
    for event in events:
        if event == "call":
            calls += 1
            budget.earn()
        else:
            made += budget.spend()
        assert made <= retries.SHARE * calls + retries.RESERVE + 1e-6


@given(st.integers(1, 2), st.none() | st.floats(0, 1e9), st.floats(-10, 700))
def test_a_pause_fits_what_is_left(number, asked, left):
    wait = retries.pause(number, asked, left)

    if wait is not None:
        assert (asked or 0) <= wait < left
    elif asked is None:
        assert left <= retries.FIRST_PAUSE * 2
