"""Calls through the real server to Cohere's dialect, which checks what it gets."""

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from access import keys
from access.models import EVERYONE, User
from access.roles import Role, Scope
from connections.exchange import Exchange
from connections.prices import cost
from connections.providers import registry
from connections.providers.calls import Mode, Usage
from connections.transport import NetworkOptions, Timeouts, Transport
from tests.mesh import make_connection, serving
from tests.upstream.cohere import BILLED
from tests.upstream.cohere import MODELS as LISTED
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
MODELS = {
    "command-a-03-2025": Mode.CHAT,
    "command-light": Mode.COMPLETION,
    "embed-v4.0": Mode.EMBEDDING,
    "rerank-v3.5": Mode.RERANK,
}
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}},
}
HELLO = [{"role": "user", "content": "one two three"}]


@pytest.fixture(scope="module")
def served(django_db_setup, django_db_blocker, upstream_server):
    with django_db_blocker.unblock():
        everyone, _ = Group.objects.get_or_create(name=EVERYONE)
        make_connection(upstream_server, "cohere", MODELS, everyone, kind="cohere")
        make_connection(upstream_server, "cohere", {"command-light": Mode.CHAT}, everyone, name="first", kind="cohere")
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


def test_a_chat_is_answered_and_billed_by_units(mesh, upstream):
    upstream.always(Fault.answer(cached=2))

    answer = mesh.post(CHAT, {"model": "cohere/command-a-03-2025", "messages": HELLO, "top_p": 1, "top_k": 3})

    assert answer.text == "one two three"
    assert answer.headers["x-mesh-adjusted"] == "top_p renamed to p; top_p clamped to 0.99; top_k renamed to k"
    row = mesh.usage(answer)
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.estimated) == (3, 3, 2, False)
    priced = [cost("command-a-03-2025", "cohere", Usage(*billed)).nano for billed in ((BILLED, 3), (3, 3))]
    assert row.cost == priced[0] != priced[1]


def test_a_stream_of_named_events(mesh, upstream):
    body = {"model": "cohere/command-a-03-2025", "messages": HELLO, "stream": True}

    answer = mesh.post(CHAT, {**body, "stream_options": {"include_usage": True}})

    assert answer.text == "one two three"
    assert answer.events[-1] == "[DONE]"
    assert answer.chunks[-1]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_answer_taken_back(mesh, upstream, stream):
    asked = {"model": "cohere/command-a-03-2025", "tools": [TOOL], "tool_choice": "required", "stream": stream}

    answer = mesh.post(CHAT, {**asked, "messages": HELLO})

    choices = [choice for chunk in answer.chunks for choice in chunk["choices"]] if stream else answer.json["choices"]
    assert choices[-1]["finish_reason"] == "tool_calls"
    if stream:
        return
    said = choices[0]["message"]
    assert said["reasoning_content"] == "I will use a tool."
    result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "A fish."}
    second = mesh.post(CHAT, {**asked, "messages": [*HELLO, said, result]})
    assert second.text == "A fish."
    assert upstream.requests[-1].json["messages"][1]["tool_plan"] == "I will use a tool."


def test_an_error_inside_a_stream_ends_it(mesh, upstream):
    upstream.always(Fault.answer(finish="ERROR"))

    answer = mesh.post(CHAT, {"model": "cohere/command-a-03-2025", "messages": HELLO, "stream": True})

    assert answer.text == "one two three"
    assert answer.chunks[-1]["error"]["code"] == "upstream_unavailable"
    assert "[DONE]" not in answer.events
    assert mesh.usage(answer).state == "error"


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_models_chat_on_the_first_route(mesh, upstream, stream):
    answer = mesh.post(CHAT, {"model": "first/command-light", "messages": HELLO, "stream": stream})

    assert (answer.text, upstream.requests[0].route) == ("one two three", "/v1/chat")
    row = mesh.usage(answer)
    assert (row.prompt_tokens, row.completion_tokens) == (3, 3)


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_models_continue_texts(mesh, upstream, stream):
    body = {"model": "cohere/command-light", "prompt": "A fish is wet", "max_tokens": 2, "stream": stream}

    answer = mesh.post("/v1/completions", body)

    choices = [choice for chunk in answer.chunks for choice in chunk["choices"]] if stream else answer.json["choices"]
    assert "".join(choice["text"] for choice in choices) == "A fish "
    assert choices[-1]["finish_reason"] == "length"
    assert upstream.requests[0].route == "/v1/generate"


def test_a_chat_of_a_model_that_continues_texts(mesh, upstream):
    answer = mesh.post(CHAT, {"model": "cohere/command-light", "messages": HELLO})

    assert answer.text == "User: one two three\nAssistant:"
    assert upstream.requests[0].json["end_sequences"] == ["\nUser:"]


def test_many_texts_are_embedded_in_their_order(mesh, upstream):
    texts = [f"text {number}" for number in range(200)]

    answer = mesh.post("/v1/embeddings", {"model": "cohere/embed-v4.0", "input": texts, "dimensions": 256})

    assert sorted(len(request.json["texts"]) for request in upstream.requests) == [8, 96, 96]
    assert [item["index"] for item in answer.json["data"]] == list(range(200))
    alone = mesh.post("/v1/embeddings", {"model": "cohere/embed-v4.0", "input": texts[150], "dimensions": 256})
    assert answer.json["data"][150]["embedding"] == alone.json["data"][0]["embedding"]
    assert mesh.usage(answer).prompt_tokens == 400


def test_documents_are_ranked_for_units(mesh, upstream):
    body = {"model": "cohere/rerank-v3.5", "query": "red fish", "documents": ["a bird", "a red fish", "a fish"]}

    answer = mesh.post("/v1/rerank", {**body, "top_n": 2})

    assert answer.json["results"] == [{"index": 1, "relevance_score": 1.0}, {"index": 2, "relevance_score": 0.5}]
    row = mesh.usage(answer)
    assert (row.state, row.search_units) == ("ok", 1)


def test_a_model_that_is_gone_is_not_replaced(mesh, upstream):
    upstream.always(Fault.status(404))

    answer = mesh.post(CHAT, {"model": "cohere/command-a-03-2025", "messages": HELLO})

    assert answer.status == 404
    assert len(upstream.requests) == 1


async def test_its_models_are_listed_page_by_page(upstream):
    kind = registry.providers()["cohere"]
    provider = kind(kind.Settings(api_key=upstream.key, base_url=upstream.url("cohere")))
    async with Transport() as transport:
        exchange = Exchange(transport, provider, NetworkOptions(), Timeouts())
        models = await exchange.run(provider.listing(await exchange.check()))

    assert [model.id for model in models] == [name for name in LISTED if name != "classify-old"]
