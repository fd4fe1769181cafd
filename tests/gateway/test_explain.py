"""`/api/explain/` says what would happen, to whom it concerns, and does nothing."""

import pytest

from access import audit, keys
from access.models import User
from access.roles import Role, Scope
from connections.models import Model
from gateway.models import Limit, Route, Usage
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
    assert found["limits"] == [{"what": "requests", "amount": 7, "seconds": 60.0, "whose": "this model"}]
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


def test_a_refusal_is_explained(mesh, upstream):
    assert ask(mesh, model="nothing").json["problem"]["code"] == "model_not_found"
    assert ask(mesh, model=GPT, fields={"api_base": "http://x"}).json["problem"]["code"] == "unknown_field"


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
    narrow = mesh.post(
        "/api/explain/", {"body": {"model": "team-chat", **CHAT}, "key": limited.public_id}, key=admins
    ).json
    assert [one["model"] for one in narrow["candidates"]] == [CLAUDE]
    assert narrow["passed_over"] == [{"model": GPT, "reason": "The key is limited to other models."}]
