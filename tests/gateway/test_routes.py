"""Routes: who is asked first, who next, with whose rights, and what the caller and the ledger learn of it."""

import weakref
from collections import Counter
from dataclasses import replace

import pytest
from django.contrib.auth.models import Group
from hypothesis import given
from hypothesis import strategies as st

from access import audit, keys
from access.models import EVERYONE, User
from access.roles import Role
from connections.models import Connection, Grant, Model
from connections.providers.calls import Usage
from connections.providers.errors import BadReply
from gateway.models import Route
from gateway.routing import Course, Standings, ordered
from gateway.snapshot import RouteEntry, Snapshot, TargetEntry
from gateway.snapshots import build
from tests.gateway.contract import check_refusal
from tests.mesh import make_connection
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
TARGETS = {"dead": "gpt-4o", "slow": "gpt-4o-mini", "busy": "gpt-4.1"}
"""Connections, each with one model."""


@pytest.fixture(scope="module")
def three(shared_mesh, upstream_server):
    everyone = Group.objects.get(name=EVERYONE)
    for name, model in TARGETS.items():
        make_connection(upstream_server, "openai", {model: "chat"}, everyone, name=name)
    embedder = {"text-embedding-3-small": "embedding"}
    make_connection(upstream_server, "openai", embedder, everyone, name="embedder")
    shared_mesh.refresh()
    return shared_mesh


@pytest.fixture
def mesh(three):
    return three


@pytest.fixture
def route(mesh):
    """Makes a route for the length of one test; its targets have priorities in their order."""

    def make(*names, name="team-chat", **columns):
        made = Route.objects.create(name=name, **columns)
        for priority, one in enumerate(names, 1):
            made.targets.create(model=Model.objects.get(connection__name=one), priority=priority)
        mesh.refresh()
        return made

    yield make
    Route.objects.all().delete()
    mesh.refresh()


def ask(mesh, name="team-chat", key=None, **fields):
    return mesh.post(
        CHAT, {"model": name, "messages": [{"role": "user", "content": "one two three"}], **fields}, key=key
    )


def by_target(**faults):
    """A fault for each connection; the others answer."""
    scripted = {TARGETS[name]: fault for name, fault in faults.items()}

    async def act(exchange):
        await scripted.get(exchange.request.json["model"], Fault.answer()).act(exchange)

    return Fault("by_target", act)


def late(seconds):
    async def act(exchange):
        await exchange.pause(seconds)
        await exchange.answer()

    return Fault("late", act)


def asked(upstream):
    return [next(name for name, model in TARGETS.items() if model == one.json["model"]) for one in upstream.requests]


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_target_answers_if_it_can(mesh, upstream, route, stream):
    route("slow", "busy")

    answer = ask(mesh, stream=stream)

    assert answer.text == "one two three"
    assert asked(upstream) == ["slow"]
    row = mesh.usage(answer)
    assert (row.route, row.model, row.connection) == ("team-chat", "slow/gpt-4o-mini", "slow")
    assert (answer.headers["x-mesh-model"], answer.headers["x-mesh-attempts"]) == ("slow/gpt-4o-mini", "1")


@pytest.mark.parametrize("stream", [False, True])
def test_one_dead_one_refusing_one_slow(mesh, upstream, route, stream):
    """What callers see of a route in trouble: nothing but the time it takes."""
    route("dead", "busy", "slow")
    upstream.always(by_target(dead=Fault.hang_up(), busy=Fault.status(429, retry_after="9"), slow=late(0.3)))

    answers = [ask(mesh, stream=stream) for _ in range(8)]

    assert {(answer.status, answer.text) for answer in answers} == {(200, "one two three")}
    rows = [mesh.usage(answer) for answer in answers]
    for number, (answer, row) in enumerate(zip(answers, rows, strict=True), 1):
        steps = [f"{one.connection} {one.error_code or one.state}" for one in row.attempts.all()]
        tried = " → ".join(steps) or f"{row.connection} ok"
        print(f"call {number}: {tried:<75} caller saw {answer.status} after {row.total_ms} ms")  # shown with -s
    assert [row.attempts.count() for row in rows] == [3] * 5 + [0] * 3  # then their breakers are open
    first = [(one.connection, one.error_code) for one in rows[0].attempts.all()]
    assert first == [("dead", "upstream_unavailable"), ("busy", "rate_limit_exceeded"), ("slow", "")]
    assert {row.connection for row in rows} == {"slow"}


def test_the_last_failure_is_told_when_all_have_failed(mesh, upstream, route):
    route("dead", "busy")
    upstream.always(by_target(dead=Fault.status(500), busy=Fault.status(429, retry_after="9")))

    answer = ask(mesh)

    check_refusal(answer, 429, "rate_limit_exceeded")
    assert answer.headers["retry-after"] == "9"
    assert asked(upstream) == ["dead", "busy"]


@pytest.mark.parametrize("fault", [Fault.status(401), Fault.status(404), Fault.html()], ids=lambda one: one.name)
def test_a_target_that_an_admin_has_to_mend_is_passed_over(mesh, upstream, route, fault):
    route("dead", "slow")
    upstream.always(by_target(dead=fault))

    assert ask(mesh).text == "one two three"
    assert asked(upstream) == ["dead", "slow"]


def test_a_callers_mistake_goes_to_nobody_else(mesh, upstream, route):
    route("dead", "slow")
    upstream.always(by_target(dead=Fault.status(400)))

    assert ask(mesh).status == 400
    assert asked(upstream) == ["dead"]


TOO_LONG = Fault.status(400, b'{"error": {"message": "too long", "code": "context_length_exceeded"}}')
FILTERED = Fault.status(400, b'{"error": {"message": "no", "code": "content_filter"}}')


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize(
    ("switch", "fault"), [("on_error", Fault.status(500)), ("on_context", TOO_LONG), ("on_filter", FILTERED)]
)
def test_each_reason_to_go_on_has_its_switch(mesh, upstream, route, switch, fault, allowed):
    others = dict.fromkeys({"on_error", "on_context", "on_filter"} - {switch}, not allowed)
    route("dead", "slow", **others, **{switch: allowed})
    upstream.always(by_target(dead=fault))

    answer = ask(mesh)

    assert (answer.status == 200) is allowed
    assert len(upstream.requests) == 1 + allowed


def test_nobody_else_is_asked_once_the_stream_has_begun(mesh, upstream, route):
    route("dead", "slow")
    upstream.always(by_target(dead=Fault.reset_mid_event(2)))

    assert b"event: error" in ask(mesh, stream=True).body
    assert asked(upstream) == ["dead"]


def test_the_call_is_made_anew_for_each_target(mesh, upstream, route):
    route("embedder", "slow")
    check_refusal(ask(mesh, made_up=1), 400, "unknown_field")

    answer = ask(mesh)

    assert answer.headers["x-mesh-connection"] == "slow"  # what cannot answer a chat is not asked
    assert upstream.requests[-1].json["model"] == "gpt-4o-mini"


def test_a_route_none_of_whose_models_fits_says_so(mesh, upstream, route):
    route("embedder")

    check_refusal(ask(mesh), 400, "invalid_value", "model")


def test_with_every_breaker_open_the_route_still_tries(mesh, upstream, route):
    route("dead", "busy")
    upstream.always(Fault.status(500))
    for _ in range(6):
        ask(mesh)
    upstream.always(None)

    assert ask(mesh).text == "one two three"


# --- rights


@pytest.fixture
def caller(mesh):
    """A user outside all groups but Everyone, and what makes keys for them."""
    owner, _ = User.objects.get_or_create(username="routed", defaults={"role": Role.ANALYST})

    def key(*models):
        made = keys.issue(owner, "routed", scopes=["generate"], allowed_models=list(models))[1]
        audit.announce()
        mesh.refresh()
        return made

    return key


def listed(mesh, key):
    return {model["id"] for model in mesh.get("/v1/models", key=key).json["data"]}


def test_a_key_may_name_the_route(mesh, upstream, route, caller):
    route("slow", "busy")
    key = caller("team-chat")

    assert listed(mesh, key) == {"team-chat"}
    assert ask(mesh, key=key).status == 200
    check_refusal(ask(mesh, "slow/gpt-4o-mini", key=key), 403, "model_not_allowed")


def test_a_key_limited_to_a_model_gets_only_that_target(mesh, upstream, route, caller):
    route("dead", "busy", "slow")
    key = caller("slow/gpt-4o-mini")
    upstream.always(by_target(slow=Fault.status(500)))

    assert ask(mesh, key=key).status == 503
    assert asked(upstream) == ["slow"]


def test_a_key_limited_to_other_models_is_refused(mesh, upstream, route, caller):
    route("dead", "busy")
    key = caller("slow/gpt-4o-mini")

    check_refusal(ask(mesh, key=key), 403, "model_not_allowed", "model")
    assert "team-chat" not in listed(mesh, key)
    assert upstream.requests == []


def test_targets_that_are_not_granted_are_never_asked(mesh, upstream, route, caller):
    """Also not as the last resort, and a route without any other is as good as absent."""
    route("dead", "slow")
    grant = Grant.objects.get(connection__name="dead")
    try:
        grant.delete()
        mesh.refresh()
        upstream.always(by_target(slow=Fault.status(500)))
        assert ask(mesh).status == 503
        assert asked(upstream) == ["slow"]
        Grant.objects.filter(connection__name="slow").update(connection=Connection.objects.get(name="dead"))
        Route.objects.get().targets.filter(model__connection__name="dead").delete()
        mesh.refresh()
        check_refusal(ask(mesh), 404, "model_not_found")
        assert "team-chat" not in listed(mesh, None)
    finally:
        everyone = Group.objects.get(name=EVERYONE)
        Grant.objects.filter(connection__name__in=["dead", "slow"]).delete()
        for name in ("dead", "slow"):
            Grant.objects.create(group=everyone, connection=Connection.objects.get(name=name))
        mesh.refresh()


def test_a_route_that_is_switched_off_is_absent(mesh, upstream, route):
    route("slow", enabled=False)

    check_refusal(ask(mesh), 404, "model_not_found")


# --- order


@pytest.fixture(scope="module")
def targets(three):
    snapshot = build(Snapshot())
    found = {entry.connection: entry for entry in snapshot.models.values()}
    return [TargetEntry(found[name], 1, 1) for name in TARGETS]


def names(entries):
    return [entry.connection for entry in entries]


def routed(strategy):
    return RouteEntry("r", strategy, [], True, True, True, 0)


def first_places(strategy, targets, standings, tries=1, expected=None):
    expected = expected or Usage(1000, 1000)
    return Counter(names(ordered(routed(strategy), targets, standings, expected))[0] for _ in range(tries))


def test_weights_are_shares(targets):
    weighted = [replace(target, weight=weight) for target, weight in zip(targets, (1, 3, 6), strict=True)]

    found = first_places("weight", weighted, Standings(), tries=4000)

    assert 300 < found["dead"] < 500
    assert 1050 < found["slow"] < 1350
    assert 2200 < found["busy"] < 2600


def test_the_least_busy_comes_first(targets):
    standings = Standings()
    for target, running in zip(targets, (2, 1, 3), strict=True):
        standings.of(target.model).running = running

    assert names(ordered(routed("least_busy"), targets, standings, Usage())) == ["slow", "dead", "busy"]


def test_the_fastest_comes_first_and_the_unknown_before_it(targets):
    standings = Standings()
    standings.of(targets[0].model).learn(0.2)
    standings.of(targets[1].model).learn(0.1)

    assert names(ordered(routed("latency"), targets, standings, Usage())) == ["busy", "slow", "dead"]


def test_the_cheapest_comes_first(targets):
    assert names(ordered(routed("price"), targets, Standings(), Usage(1000, 1000)))[0] == "slow"


def test_priority_goes_before_strategy_and_health_before_both(targets):
    dead, slow, busy = targets
    ranked = [replace(dead, priority=1), replace(slow, priority=3), replace(busy, priority=2)]
    assert names(ordered(routed("price"), ranked, Standings(), Usage(1, 1))) == ["dead", "busy", "slow"]

    ranked[0] = replace(ranked[0], model=replace(dead.model, failing=True))

    assert names(ordered(routed("price"), ranked, Standings(), Usage(1, 1))) == ["busy", "slow", "dead"]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3), st.booleans()), min_size=3, max_size=3),
    st.sampled_from(Route.Strategy.values),
)
def test_no_target_is_ever_left_out(targets, drawn, strategy):
    ranked = [
        replace(target, weight=weight, priority=priority, model=replace(target.model, failing=failing))
        for target, (weight, priority, failing) in zip(targets, drawn, strict=True)
    ]

    found = ordered(routed(strategy), ranked, Standings(), Usage(1, 1))

    assert sorted(names(found)) == sorted(TARGETS)
    failing = [entry.failing for entry in found]
    assert failing == sorted(failing)


class Body:
    """A large answer."""


def refuse_to_read():
    body = Body()
    try:
        raise ValueError(body)
    except ValueError as error:
        error.body = weakref.ref(body)
        raise BadReply("Too large.") from error


def test_a_failure_holds_nothing_of_the_answer_that_it_came_of():
    with pytest.raises(BadReply) as caught:
        refuse_to_read()
    error, body = caught.value, caught.value.__cause__.body
    del caught

    Course(Standings(), []).fail(error)

    assert body() is None
