"""`/api/explain/` says what would happen, to whom it concerns, and does nothing."""

import asyncio
import json

import pytest
from django.contrib.auth.models import Group
from redis.asyncio import Redis

from access import audit, keys
from access.models import EVERYONE, User
from access.roles import Role, Scope
from connections.models import Grant, Model
from gateway.limits.counters import Shared
from gateway.limits.rules import LimitEntry, rule_of
from gateway.models import Budget, BudgetWindow, Limit, Route, Usage
from tests.upstream.faults import Fault

GPT, CLAUDE = "openai/gpt-4o-mini", "anthropic/claude-sonnet-5-5"
CHAT = {"messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture
def mesh(shared_mesh):
    made = Route.objects.create(name="team-chat")
    for priority, name in enumerate((GPT, CLAUDE), 1):
        made.targets.create(model=Model.objects.get(public_id=name), priority=priority)
    shared_mesh.refresh()
    yield shared_mesh
    Route.objects.all().delete()
    Limit.objects.all().delete()
    shared_mesh.refresh()


def ask(mesh, model="team-chat", key=None, fields=None, **more):
    return mesh.post("/api/explain/", {"body": {"model": model, **CHAT, **(fields or {})}, **more}, key=key)


def test_it_tells_the_order_the_limits_and_the_request_and_sends_nothing(mesh, upstream):
    Limit.objects.create(scope="model", subject=GPT, what="requests", amount=7, seconds=60)
    mesh.refresh()
    rows = Usage.objects.count()

    found = ask(mesh, fields={"max_tokens": 50}).json

    assert found["problem"] is None
    assert found["route"] == {"name": "team-chat", "strategy": "weight"}
    assert [one["model"] for one in found["candidates"]] == [GPT, CLAUDE]
    limit = {"what": "requests", "amount": 7, "seconds": 60.0, "whose": "this model", "taken": None}
    assert found["limits"] == [limit]  # without Valkey nobody knows what is taken
    assert (found["completion_tokens"], found["cost"] > 0) == (50, True)
    assert found["request"]["body"]["model"] == "gpt-4o-mini"
    assert (upstream.requests, Usage.objects.count()) == ([], rows)


def test_an_open_breaker_puts_a_target_last(mesh, upstream):
    upstream.always(Fault.status(500))
    for _ in range(5):
        mesh.post("/v1/chat/completions", {"model": GPT, **CHAT})

    last = ask(mesh).json["candidates"][-1]

    assert (last["model"], last["breaker"]) == (GPT, "open")
    assert "left alone" in last["reasons"][0]


def steps(found):
    return [(step["rule"], step["holds"]) for step in found["steps"]]


REFUSALS = {
    "no such model": ("nothing", {}, "model_not_found", "Grants"),
    "of another kind": (GPT, {"mode": "embedding", "body": {"model": GPT, "input": "one"}}, "invalid_value", "Kind"),
    "unknown field": (GPT, {"fields": {"api_base": "http://x"}}, "unknown_field", "Request"),
    "no question": (GPT, {"fields": {"messages": []}}, "invalid_value", "Request"),
}


@pytest.mark.parametrize(("model", "more", "code", "rule"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_names_the_rule_and_says_what_the_call_would_get(mesh, upstream, model, more, code, rule):
    found = ask(mesh, model=model, **more).json

    assert found["problem"]["code"] == code
    assert steps(found)[-1] == (rule, False)
    assert [holds for _, holds in steps(found)[:-1]] == [True] * (len(found["steps"]) - 1)
    assert found["steps"][-1]["told"] == found["problem"]["message"]


def test_all_rules_that_a_call_meets_are_told_in_order(mesh, upstream):
    found = ask(mesh).json

    rules = ["User", "Role", "Scope", "Grants", "Kind", "Limits", "Budgets", "Order", "Health"]
    assert steps(found) == [(rule, True) for rule in rules]
    assert [(one["priority"], one["weight"]) for one in found["candidates"]] == [(1, 1), (2, 1)]


def test_a_model_that_is_left_alone_is_not_asked_where_it_is_alone(mesh, upstream):
    upstream.always(Fault.status(500))
    for _ in range(5):
        mesh.post("/v1/chat/completions", {"model": GPT, **CHAT})

    assert steps(ask(mesh, model=GPT).json)[-1] == ("Health", False)
    assert steps(ask(mesh).json)[-1] == ("Health", True)


def test_what_is_left_of_a_limit_is_told(mesh, upstream, valkey, settings):
    limits = [Limit(scope="model", subject=GPT, what=what, amount=100, seconds=3600) for what in ("requests", "tokens")]
    Limit.objects.bulk_create(limits)
    mesh.refresh()
    settings.REDIS_URL = valkey
    rules = [rule_of(LimitEntry.of(limit), "") for limit in Limit.objects.order_by("what")]
    asyncio.run(_take(valkey, rules, [99, 95]))

    found = ask(mesh, model=GPT, fields={"max_tokens": 50}).json

    told = {step["told"]: step["holds"] for step in found["steps"] if step["rule"] == "Limit"}
    size = len(json.dumps({"model": GPT, **CHAT, "max_tokens": 50}))
    assert told == {
        "100 requests per hour for this model: 1 left, 1 needed.": True,
        f"100 tokens per hour for this model: 5 left, {-(-size // 4) + 50} needed.": False,
    }


async def _take(url, rules, costs):
    async with Redis.from_url(url) as client:  # ids of limits come again in every test
        await client.flushdb()
    shared = Shared(url)
    await shared.take(rules, costs)
    await shared.close()


def test_only_who_manages_access_asks_about_others(mesh, upstream):
    ada = User.objects.create_user("ada", role=Role.ADMIN)
    admins = keys.issue(ada, "admin", scopes=list(Scope.values))[1]
    limited, _ = keys.issue(
        User.objects.get(username="caller"), "limited", scopes=["generate"], allowed_models=[CLAUDE]
    )
    audit.announce()
    mesh.refresh()

    assert ask(mesh, user="ada").status == 403
    assert ask(mesh, key=admins, user="nobody").status == 400
    found = ask(mesh, key=admins, user="caller").json
    assert (found["principal"], len(found["candidates"])) == ("caller", 2)
    hidden = Model.objects.get(public_id=GPT)
    Grant.objects.filter(connection=hidden.connection).delete()
    mesh.refresh()
    try:
        assert "granted" in ask(mesh, GPT, key=admins, user="caller").json["steps"][-1]["told"]
        assert "There is no model" in ask(mesh, "nothing", key=admins, user="caller").json["steps"][-1]["told"]
        mine = [ask(mesh, name).json["steps"] for name in (GPT, "nothing")]
        assert mine[0] == mine[1]
    finally:
        Grant.objects.create(group=Group.objects.get(name=EVERYONE), connection=hidden.connection)
        mesh.refresh()
    narrow = mesh.post(
        "/api/explain/", {"body": {"model": "team-chat", **CHAT}, "key": limited.public_id}, key=admins
    ).json
    assert [one["model"] for one in narrow["candidates"]] == [CLAUDE]
    assert narrow["passed_over"] == [{"model": GPT, "reason": "The key is limited to other models."}]


@pytest.mark.parametrize(
    ("columns", "holds", "said"),
    [
        ({"amount": 10**6}, True, "1,000,000 tokens left"),
        ({"amount": 5}, False, "only 5 tokens is left of the budget of 5 tokens per day"),
        ({"amount": 5, "at_end": "warn"}, True, "Nothing is held up."),
        ({"amount": 5, "at_end": "switch", "switch_to": CLAUDE}, True, f"{CLAUDE} is asked instead."),
        ({"amount": 10**9, "what": "money"}, True, "$1.00 left"),
    ],
)
def test_it_asks_the_budgets_and_takes_nothing(mesh, columns, holds, said):
    Budget.objects.create(**{"scope": "all", "what": "tokens", "window": "day", **columns})
    mesh.refresh()

    found = ask(mesh, GPT, fields={"max_tokens": 50}).json

    steps = [step for step in found["steps"] if step["rule"] == "Budget"]
    Budget.objects.all().delete()
    mesh.refresh()
    assert [step["holds"] for step in steps] == [holds]
    assert said in steps[0]["told"]
    assert found["budgets"][0]["amount"] == columns["amount"]
    assert not BudgetWindow.objects.exists()
