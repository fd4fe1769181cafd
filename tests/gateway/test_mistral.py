"""Calls through the real server to Mistral, which refuses what it does not know."""

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from access import keys
from access.models import EVERYONE, User
from access.roles import Role, Scope
from connections.providers.calls import Mode
from tests.mesh import make_connection, serving
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
SMALL = "mistral/mistral-small-latest"
TOOLS = [{"type": "function", "function": {"name": "look_up"}}]


@pytest.fixture(scope="module")
def served(django_db_setup, django_db_blocker, upstream_server):
    with django_db_blocker.unblock():
        everyone, _ = Group.objects.get_or_create(name=EVERYONE)
        models = {"mistral-small-latest": Mode.CHAT, "codestral-embed": Mode.EMBEDDING, "nope": Mode.CHAT}
        make_connection(upstream_server, "mistral", models, everyone, kind="mistral")
        owner = User.objects.create_user("caller", role=Role.ANALYST)
        with serving() as running:
            running.key = keys.issue(owner, "suite", scopes=list(Scope.values))[1]
            running.refresh()
            yield running
        call_command("flush", interactive=False, verbosity=0)
        Group.objects.get_or_create(name=EVERYONE)


@pytest.fixture
def mesh(served, upstream):
    return served


def chat(model=SMALL, text="one two three", **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


@pytest.mark.parametrize("stream", [False, True])
def test_what_mistral_does_not_know_is_left_out_and_reported(mesh, upstream, stream):
    foreign = {"seed": 7, "user": "alice", "logprobs": True, "top_k": 3, "max_completion_tokens": 50, "temperature": 2}

    answer = mesh.post(CHAT, chat(stream=stream, **foreign))

    assert answer.text == "one two three"
    adjusted = answer.headers["x-mesh-adjusted"]
    for part in ("seed renamed to random_seed", "user dropped", "temperature clamped to 1.5"):
        assert part in adjusted
    row = mesh.usage(answer)
    assert (row.prompt_tokens, row.completion_tokens, row.estimated) == (3, 3, False)
    assert row.cost


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_with_tools_of_other_systems_goes_on(mesh, upstream, stream):
    """Its ids are too long for Mistral, and its second call is Mistral's own."""
    first = mesh.post(CHAT, chat(tools=TOOLS)).json["choices"][0]["message"]["tool_calls"]
    foreign = [{"id": "call_of-another_system", "type": "function", "function": {"name": "look_up", "arguments": ""}}]
    messages = chat()["messages"]
    for calls in (foreign, first):
        messages += [{"role": "assistant", "content": None, "tool_calls": calls}]
        messages += [{"role": "tool", "tool_call_id": calls[0]["id"], "content": f"Result {calls[0]['id']}."}]

    answer = mesh.post(CHAT, {**chat(tools=TOOLS, stream=stream), "messages": messages})

    assert answer.text == f"Result {first[0]['id']}."
    sent = upstream.requests[-1].json["messages"]
    assert sent[2]["tool_call_id"] == sent[1]["tool_calls"][0]["id"] != "call_of-another_system"
    assert sent[4]["tool_call_id"] == first[0]["id"]


def test_vectors_have_the_wished_size(mesh):
    answer = mesh.post("/v1/embeddings", {"model": "mistral/codestral-embed", "input": ["a", "b"], "dimensions": 4})

    assert [len(item["embedding"]) for item in answer.json["data"]] == [4, 4]


def test_an_unknown_model_is_named_as_such(mesh):
    answer = mesh.post(CHAT, chat("mistral/nope"))

    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


def test_a_refused_field_is_the_callers_to_mend(mesh, upstream):
    upstream.always(Fault.status(422, b'{"detail": [{"loc": ["body", "x"], "msg": "Extra inputs", "type": "extra"}]}'))

    answer = mesh.post(CHAT, chat())

    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert "Extra inputs" in answer.error["message"]
