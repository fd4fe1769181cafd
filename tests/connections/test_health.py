"""What tests and checks find at a real upstream, what they cost, and what is written down."""

import asyncio
import json
from datetime import timedelta

import pytest
from django.utils import timezone

from connections import health, runtime
from connections.health import Progress, checks, paid, stages
from connections.models import Connection, HealthCheck, Model, State
from connections.providers.calls import Call, Mode, Target
from connections.providers.errors import BadReply, KeyRefused
from connections.transport import NetworkOptions, Timeouts
from tests.connections.test_transport import Authority
from tests.upstream.faults import Fault

CHAT, EMBEDDING = "gpt-4o-mini", "text-embedding-3-small"
FREE = ["DNS and TLS", "Sign-in", "Model list"]


@pytest.fixture
async def transport():
    return await runtime.transport()


@pytest.fixture
def account(upstream):
    """`account(url=…, key=…)` gives an unsaved connection to the upstream."""

    def make(url: str = "", key: str = "", **columns) -> Connection:
        settings = {"base_url": url or upstream.url("openai")}
        connection = Connection(name="Main", slug="main", kind="openai", settings=settings, **columns)
        connection.store_credential({"api_key": key or upstream.key})
        return connection

    return make


@pytest.fixture
def metered(monkeypatch):
    """Paid calls, as they are told to whoever registered."""
    calls = []
    monkeypatch.setattr(paid, "meters", [calls.append])
    return calls


def model(connection: Connection, upstream_id: str, mode: Mode = Mode.CHAT) -> Model:
    return Model(connection=connection, upstream_id=upstream_id, public_id=f"main/{upstream_id}", mode=mode)


async def check(transport, connection: Connection, *models, **options) -> health.Finding:
    return await health.check_connection(transport, connection, connection.provider(), *models, **options)


# --- checks ----------------------------------------------------------------------------------------------


async def test_a_free_check_proves_address_and_key(transport, account, upstream):
    found = await check(transport, account())

    assert (found.state, found.cause, found.evidence) == (State.HEALTHY, "", "")
    assert [(stage.name, stage.ok) for stage in found.stages] == [(name, True) for name in FREE]
    assert found.total_ms == sum(stage.ms for stage in found.stages)
    assert [(request.method, request.route) for request in upstream.requests] == [("GET", "/v1/models")]


FAILURES = {
    "key refused": (Fault.status(401), "refused the connection's key. Enter a valid key"),
    "account empty": (Fault.status(402), "no credit left. Top up the account"),
    "no such page": (Fault.status(404), "Nothing answers under this base URL"),
    "pace": (Fault.status(429), "have the limit raised"),
    "server failed": (Fault.status(500), "It is checked again soon"),
    "overloaded": (Fault.status(503), "It is checked again soon"),
    "redirect": (Fault.status(302, location="http://127.0.0.1/"), "Check that the address is the one"),
    "login page": (Fault.html(), "Check that the address is the one of the provider's API"),
    "nothing": (Fault.empty(), "Check that the address is the one of the provider's API"),
    "half an answer": (Fault.half_json(), "Check that the address is the one of the provider's API"),
    "cut off": (Fault.hang_up(), "that the provider is up"),
    "silence": (Fault.silence(), "that the provider is up"),
}


@pytest.mark.parametrize(("fault", "cause"), FAILURES.values(), ids=FAILURES)
async def test_a_providers_fault_becomes_the_connections_state(monkeypatch, transport, account, upstream, fault, cause):
    monkeypatch.setattr(stages, "TIMEOUTS", Timeouts(connect=0.5, first_byte=0.5, between=0.5, total=0.5))
    upstream.always(fault)

    found = await check(transport, account())

    assert found.state == State.FAILING
    assert cause in found.cause
    assert upstream.key not in repr(found)


async def test_what_the_provider_echoes_is_scrubbed_and_short(transport, account, upstream):
    upstream.always(Fault.echoes_key())

    found = await check(transport, account())

    assert "Incorrect API key provided" in found.evidence
    assert upstream.key[4:16] not in repr(found)

    upstream.always(Fault.body(json.dumps({"error": {"message": "word " * 500}}).encode(), status=400))
    found = await check(transport, account())
    assert 0 < len(found.evidence) <= 200


@pytest.mark.parametrize("url", ["https://169.254.169.254/v1", "https://10.0.0.1/v1", "http://example.com/v1"])
async def test_a_refused_address_fails_without_a_call(transport, account, upstream, url):
    found = await check(transport, account(url=url))

    assert found.state == State.FAILING
    assert "Correct the address" in found.cause
    assert [stage.state for stage in found.stages] == [Progress.FAILED, Progress.SKIPPED, Progress.SKIPPED]


async def test_nobody_at_the_address(transport, account, upstream):
    found = await check(transport, account(url=upstream.refusing_url("openai")))

    assert found.state == State.FAILING
    assert "Check that the address is right" in found.cause


async def test_a_private_authority_is_trusted_only_where_it_is_named(transport, account, upstream, tmp_path):
    authority = Authority()
    url = upstream.tls_url("openai", authority.server(tmp_path, host="localhost"))

    stranger = await check(transport, account(url=url))
    friend = await check(transport, account(url=url, ca_certificate=authority.pem))

    assert stranger.state == State.FAILING
    assert "add its authority to this connection" in stranger.cause
    assert friend.state == State.HEALTHY


async def test_a_late_answer_is_slow_not_failing(transport, account, upstream):
    upstream.script(Fault.body(b'{"data": []}'))
    upstream.always(Fault.answer(delay=0.1))

    quick = await check(transport, account(slow_after_ms=5000))
    slow = await check(transport, account(slow_after_ms=50))

    assert quick.state == State.HEALTHY
    assert slow.state == State.SLOW
    assert "more than 50 ms counts as slow" in slow.cause


async def test_a_fault_of_ours_is_not_blamed_on_the_provider(transport, account, caplog):
    found = await check(transport, account(slow_after_ms="not a number"))

    assert found.state == State.UNKNOWN
    assert "broke off" in caplog.text


async def test_a_check_ends_in_time(monkeypatch, transport, account, upstream):
    monkeypatch.setattr(checks, "DEADLINE", 0.3)
    upstream.always(Fault.silence())

    async with asyncio.timeout(15):
        found = await check(transport, account())

    assert found.state == State.FAILING
    assert "longer than 0.3 s" in found.cause


# --- models ----------------------------------------------------------------------------------------------


async def test_models_are_looked_up_in_the_providers_list(transport, account):
    connection = account()
    listed, retired = model(connection, CHAT), model(connection, "gpt-2")

    found = await check(transport, connection, [listed, retired])

    assert found.state == State.HEALTHY
    assert [(one.model, one.state) for one in found.models] == [(listed, State.HEALTHY), (retired, State.FAILING)]
    assert "does not list this model" in found.models[1].cause


async def test_without_a_list_nothing_is_known_of_a_model(transport, account, upstream):
    upstream.script(Fault.body(b'{"object": "list", "data": []}'))
    connection = account()

    found = await check(transport, connection, [model(connection, CHAT)])

    assert (found.state, found.models[0].state) == (State.HEALTHY, State.UNKNOWN)
    assert found.stages[-1].detail == "The provider does not list its models"


async def test_each_paid_call_is_short_and_metered(transport, account, upstream, metered):
    connection = account()
    models = [model(connection, CHAT), model(connection, EMBEDDING, Mode.EMBEDDING)]

    found = await check(transport, connection, to_call=models)

    assert {one.model: one.state for one in found.models} == dict.fromkeys(models, State.HEALTHY)
    assert all(one.ms is not None for one in found.models)
    assert {call.model for call in metered} == set(models)
    chat = next(call for call in metered if call.model is models[0])
    bill = next(bill for bill in upstream.billed.values() if bill.completion)
    assert (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (bill.prompt, bill.completion)
    assert 0 < bill.completion <= 5
    assert (chat.connection, chat.error, chat.principal.label) == (connection, None, "system:health")


async def test_a_failed_paid_call_is_metered_too(transport, account, upstream, metered):
    connection = account()
    upstream.script(Fault.answer(), Fault.status(401))

    found = await check(transport, connection, to_call=[model(connection, CHAT)])

    assert (found.state, found.models[0].state) == (State.HEALTHY, State.FAILING)
    assert isinstance(metered[0].error, KeyRefused)
    assert metered[0].usage.prompt_tokens is None


async def test_a_paid_call_that_is_given_up_is_metered_too(monkeypatch, transport, account, upstream, metered):
    monkeypatch.setattr(checks, "DEADLINE", 0.5)
    connection = account()
    upstream.script(Fault.answer(), Fault.silence())

    found = await check(transport, connection, to_call=[model(connection, CHAT)])

    assert found.state == State.FAILING
    assert [call.error.message for call in metered] == ["The call was given up."]


# --- the staged test -------------------------------------------------------------------------------------


async def staged(transport, connection, **options):
    test = health.staged_test(transport, connection.provider(), NetworkOptions(), **options)
    return [stage async for stage in test]


async def test_every_stage_is_told_when_it_begins_and_when_it_ends(transport, account, upstream, metered):
    upstream.always(Fault.answer(delay=0.05))

    told = await staged(transport, account(), target=Target(CHAT))

    names = [*FREE, "Short call"]
    assert [(stage.name, stage.state) for stage in told] == [
        (name, state) for name in names for state in (Progress.RUNNING, Progress.OK)
    ]
    reached, accepted, listed, called = told[1::2]
    assert reached.detail.startswith("127.0.0.1: DNS ")
    assert listed.detail == "4 models"
    assert CHAT in called.detail
    assert accepted.ms >= 50
    assert called.ms >= 50
    assert listed.ms < 50
    assert [(call.target.upstream_id, call.connection) for call in metered] == [(CHAT, None)]


async def test_the_short_call_is_made_only_when_a_model_is_named(transport, account, upstream, metered):
    told = await staged(transport, account())

    assert [stage.name for stage in told[1::2]] == FREE
    assert [request.method for request in upstream.requests] == ["GET"]
    assert metered == []


async def test_nothing_is_tried_at_an_unreachable_address(transport, account, upstream, metered):
    told = await staged(transport, account(url=upstream.refusing_url("openai")), target=Target(CHAT))

    assert [stage.state for stage in told] == [Progress.RUNNING, Progress.FAILED, *[Progress.SKIPPED] * 3]
    assert metered == []


async def test_a_key_that_may_call_but_not_list_is_seen_to_call(transport, account, upstream, metered):
    upstream.script(Fault.status(403))

    told = await staged(transport, account(), target=Target(CHAT))

    results = {stage.name: stage.state for stage in told}
    assert list(results.values()) == [Progress.OK, Progress.FAILED, Progress.SKIPPED, Progress.OK]


async def test_a_test_sends_what_a_real_call_sends(transport, account, upstream, metered):
    connection, target = account(), Target(CHAT)

    await staged(transport, connection, target=target)

    provider = connection.provider()
    real = provider.auth.sign(provider.request(Call(Mode.CHAT, target, dict(paid.BODIES[Mode.CHAT]))))
    assert upstream.requests[-1].body == real.body
    assert upstream.requests[-1].headers["authorization"] == real.headers["Authorization"]


async def test_discovered_models_bring_what_the_catalogue_knows(transport, account, upstream):
    upstream.script(Fault.body(json.dumps({"data": [{"id": CHAT}, {"id": "of-our-own"}]}).encode()))

    found = {info.id: info for info in await health.discover(transport, account().provider(), NetworkOptions())}

    assert set(found) == {CHAT, "of-our-own"}
    assert found[CHAT].context
    assert found["of-our-own"].context is None


async def test_discovery_leaves_out_what_cannot_be_offered(transport, account, upstream):
    listed = [{"id": ""}, {"id": "m" * 301}, {"id": "a\nb"}, {"id": "big", "context_length": 10**18}, {"id": CHAT}]
    upstream.script(Fault.body(json.dumps({"data": [*listed, *({"id": f"m{n}"} for n in range(6_000))]}).encode()))

    found = await health.discover(transport, account().provider(), NetworkOptions())

    assert [info.id for info in found[:2]] == ["big", CHAT]
    assert found[0].context is None
    assert len(found) == 5_000


async def test_a_list_without_end_is_refused(transport, account, upstream):
    upstream.script(Fault.body(json.dumps({"data": [{"id": f"model-{n}"} for n in range(300_000)]}).encode()))

    with pytest.raises(BadReply):
        await health.discover(transport, account().provider(), NetworkOptions())


async def test_discovery_falls_back_on_the_catalogue(transport, account, upstream):
    upstream.script(Fault.body(b'{"object": "list", "data": []}'))
    provider = account().provider()

    assert await health.discover(transport, provider, NetworkOptions()) == list(provider.catalogue)


async def test_discovery_names_what_went_wrong(transport, account, upstream):
    upstream.script(Fault.echoes_key())

    with pytest.raises(KeyRefused) as refused:
        await health.discover(transport, account().provider(), NetworkOptions())

    assert upstream.key not in refused.value.evidence


# --- what is written down --------------------------------------------------------------------------------


def finding(state: State = State.HEALTHY, cause: str = "", **options) -> health.Finding:
    stage = health.Stage("Sign-in", Progress.OK, 7, "Accepted")
    return health.Finding(state, cause, stages=[stage], **options)


def test_a_finding_is_written_with_its_history(connect):
    connection = connect("openai")

    assert health.record(connection, finding(State.FAILING, "No. " * 200, evidence="their words"))

    row = Connection.objects.get()
    assert (row.state, row.evidence, row.latency_ms) == (State.FAILING, "their words", 7)
    assert row.checked_at is not None
    check = HealthCheck.objects.get()
    assert (check.connection, check.model, check.state, check.total_ms) == (connection, None, State.FAILING, 7)
    assert check.stages == [{"name": "Sign-in", "ok": True, "ms": 7, "detail": "Accepted"}]


def test_the_next_check_comes_after_the_interval_give_or_take_a_fifth(connect):
    connection = connect("openai", check_every=1000)
    waits = []
    for _ in range(30):
        health.record(connection, finding())
        row = Connection.objects.get()
        waits.append((row.check_due - row.checked_at).total_seconds())

    assert all(799 < wait < 1201 for wait in waits)
    assert max(waits) - min(waits) > 50


@pytest.mark.parametrize("change", [{"revision": 2}, {"paused": True}])
def test_a_finding_about_what_changed_meanwhile_is_dropped(connect, change):
    connection = connect("openai")
    Connection.objects.update(**change)

    assert not health.record(connection, finding(State.FAILING))

    assert Connection.objects.get().state == State.UNKNOWN
    assert not HealthCheck.objects.exists()


def test_a_finding_about_a_deleted_connection_is_dropped(connect):
    connection = connect("openai")
    Connection.objects.all().delete()

    assert not health.record(connection, finding())


def test_calls_of_models_are_kept_and_lists_only_shown(connect):
    connection = connect("openai", {CHAT: Mode.CHAT, EMBEDDING: Mode.EMBEDDING})
    called, listed = Model.objects.get(upstream_id=CHAT), Model.objects.get(upstream_id=EMBEDDING)
    found = [
        health.ModelFinding(called, State.SLOW, "Late.", 3000),
        health.ModelFinding(listed, State.FAILING, "No longer listed."),
    ]

    health.record(connection, finding(models=found))

    told = Model.objects.order_by("upstream_id").values_list("state", "cause", "latency_ms")
    assert list(told) == [(State.SLOW, "Late.", 3000), (State.FAILING, "No longer listed.", None)]
    assert HealthCheck.objects.exclude(model=None).get().model == called
    assert all(timezone.now() - row.checked_at < timedelta(minutes=1) for row in Model.objects.all())
