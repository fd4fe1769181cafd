"""What a model lacks and we supply, as callers of `/v1` see it: answers, headers and rows of the ledger."""

import json

import openai
import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from access import audit
from access.models import EVERYONE
from connections.models import Connection, Grant, Model
from connections.providers.calls import Mode
from tests.gateway.contract import chat, check_refusal
from tests.mesh import COMPLETERS, MODELS, make_connection
from tests.upstream.faults import Fault

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
CLAUDE = f"anthropic/{MODELS['anthropic']}"
GPT = f"openai/{MODELS['openai']}"
TEXT = f"compatible/{COMPLETERS['compatible']}"


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


@pytest.fixture
def client(mesh, upstream):
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=0, timeout=30) as made:
        yield made


def adjusted(answer):
    return answer.headers.get("x-mesh-adjusted", "").split("; ")


def completion(model=GPT, prompt="one two three", **fields):
    return {"model": model, "prompt": prompt, **fields}


# --- completions of chat models


def test_a_chat_model_completes(mesh, client, upstream):
    raw = client.completions.with_raw_response.create(model=GPT, prompt="one two three", max_tokens=2, echo=True)

    answer = raw.parse()
    assert (answer.object, answer.choices[0].text, answer.choices[0].finish_reason) == (
        "text_completion",
        "one two ",
        "length",
    )
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 2)
    assert upstream.requests[0].route == CHAT
    assert raw.headers["x-mesh-adjusted"] == (
        "prompt sent as one user message; echo dropped; max_tokens renamed to max_completion_tokens"
    )
    row = mesh.usage_of(raw.headers["x-request-id"])
    assert (row.mode, row.completion_tokens) == ("completion", 2)
    assert row.adjusted == raw.headers["x-mesh-adjusted"].split("; ")


def test_a_chat_model_streams_completions(client):
    chunks = list(client.completions.create(model=CLAUDE, prompt="one two three", stream=True))

    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "one two three"
    assert {chunk.object for chunk in chunks} == {"text_completion"}


def test_a_list_of_prompts_is_several_conversations(mesh, client, upstream):
    raw = client.completions.with_raw_response.create(model=GPT, prompt=["one", "two three", "four"])

    answer = raw.parse()
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "one"), (1, "two three"), (2, "four")]
    assert answer.usage.prompt_tokens == sum(bill.prompt for bill in upstream.billed.values()) == 4
    assert raw.headers["x-mesh-adjusted"].startswith("prompt split into 3 requests; ")


def test_when_one_of_several_prompts_fails_the_others_are_paid_for_all_the_same(mesh, upstream):
    upstream.script(Fault.answer(), Fault.answer(), Fault.status(400))

    answer = mesh.post(COMPLETIONS, completion(prompt=["one", "two three", "four"]))

    check_refusal(answer, 400, "invalid_value")
    row = mesh.usage(answer)
    assert (row.state, row.estimated) == ("error", False)
    assert row.prompt_tokens == sum(bill.prompt for bill in upstream.billed.values())
    assert row.cost > 0


# --- chats of completion models


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_model_chats(mesh, upstream, stream):
    body = {**chat("compatible", stream=stream, max_completion_tokens=50, tool_choice="none"), "model": TEXT}

    answer = mesh.post(CHAT, body)

    [sent] = upstream.requests
    assert sent.route == COMPLETIONS
    assert "one two three" in sent.json["prompt"]
    assert sent.json["max_tokens"] == 50
    assert answer.text
    first = answer.chunks[0] if stream else answer.json
    assert first["object"] == ("chat.completion.chunk" if stream else "chat.completion")
    assert {"tool_choice dropped", "messages sent as one prompt"} <= set(adjusted(answer))
    assert mesh.usage(answer).adjusted == adjusted(answer)


def test_a_stop_that_cannot_travel_as_it_is_does_not_break_the_header(mesh, upstream):
    answer = mesh.post(CHAT, {**chat("compatible"), "model": TEXT})

    assert answer.status == 200
    assert any(change.startswith("stop extended by [") for change in adjusted(answer))


def test_a_model_for_something_else_is_still_refused(mesh, upstream):
    check_refusal(mesh.post(CHAT, {**chat(), "model": "openai/text-embedding-3-small"}), 400, "invalid_value", "model")
    check_refusal(mesh.post(EMBEDDINGS, {"model": GPT, "input": "a"}), 400, "invalid_value", "model")
    assert upstream.requests == []


# --- several answers


def test_a_model_without_n_is_asked_several_times(mesh, client, upstream):
    raw = client.chat.completions.with_raw_response.create(
        model=CLAUDE, messages=[{"role": "user", "content": "one two"}], n=3, max_tokens=9
    )

    answer = raw.parse()
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 6)
    assert [request.json["max_tokens"] for request in upstream.requests] == [9, 9, 9]
    assert raw.headers["x-mesh-adjusted"] == "n split into 3 requests"
    row = mesh.usage_of(raw.headers["x-request-id"])
    assert (row.prompt_tokens, row.completion_tokens) == (6, 6)


def test_several_answers_are_streamed_when_they_are_whole(mesh, upstream):
    answer = mesh.post(CHAT, chat("anthropic", n=2, stream=True, stream_options={"include_usage": True}))

    said = [choice for chunk in answer.chunks for choice in chunk["choices"]]
    assert {choice["index"] for choice in said} == {0, 1}
    assert answer.chunks[-1]["usage"]["completion_tokens"] == 6
    assert answer.events[-1] == "[DONE]"
    assert adjusted(answer)[:2] == ["stream answered whole", "n split into 2 requests"]
    row = mesh.usage(answer)
    assert (row.stream, row.completion_tokens, row.finish_reason) == (True, 6, "stop")


def test_answers_that_came_are_given_although_others_failed(mesh, upstream):
    upstream.script(Fault.answer(), Fault.status(529))

    answer = mesh.post(CHAT, chat("anthropic", n=3))

    assert (answer.status, len(answer.json["choices"])) == (200, 2)
    assert adjusted(answer)[-1].startswith("n reduced to 2: ")
    assert mesh.usage(answer).completion_tokens == 6


def test_when_all_fail_it_is_one_failure(mesh, upstream):
    upstream.always(Fault.status(429, retry_after="3"))

    answer = mesh.post(CHAT, chat("anthropic", n=3))

    check_refusal(answer, 429, "rate_limit_exceeded")
    assert mesh.usage(answer).state == "error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_would_become_hundreds_is_refused(mesh, upstream, stream):
    answer = mesh.post(COMPLETIONS, completion(CLAUDE, ["x"] * 128, n=3, stream=stream))

    check_refusal(answer, 400, "invalid_value")
    assert "384 requests" in answer.error["message"]
    assert upstream.requests == []


def test_the_heartbeat_covers_answers_that_come_whole(mesh, upstream, monkeypatch):
    monkeypatch.setattr("gateway.http.HEARTBEAT_SECONDS", 0.1)
    upstream.always(Fault.answer(text="At last.", delay=0.5))

    answer = mesh.post(CHAT, chat("anthropic", n=2, stream=True))

    assert b": keep-alive\n\n" in answer.body.partition(b"data:")[0]
    assert answer.text == "At last.At last."


# --- a server that does little at a time


@pytest.fixture
def small(mesh, upstream):
    """A connection to a server that embeds two texts at a time and does not fetch pictures."""
    if not Connection.objects.filter(name="small").exists():
        settings = {"base_url": upstream.url("compatible"), "max_inputs": 2, "fetches_pictures": False}
        models = {"local-embed": Mode.EMBEDDING, "local-chat": Mode.CHAT}
        everyone = Group.objects.get(name=EVERYONE)
        make_connection(upstream, "compatible", models, everyone, name="small", settings=settings)
        mesh.refresh()


def test_embeddings_are_asked_for_in_batches_and_come_in_order(mesh, client, upstream, small):
    texts = [f"text number {number}" for number in range(5)]
    upstream.script(Fault.answer(delay=0.2))  # the first batch comes last

    raw = client.embeddings.with_raw_response.create(model="small/local-embed", input=texts)
    alone = client.embeddings.create(model="compatible/local-embed", input=texts)

    answer = raw.parse()
    assert [len(request.json["input"]) for request in upstream.requests[:3]] == [2, 2, 1]
    assert [item.embedding for item in answer.data] == [item.embedding for item in alone.data]
    assert [item.index for item in answer.data] == [0, 1, 2, 3, 4]
    assert answer.usage.prompt_tokens == alone.usage.prompt_tokens == 15
    assert raw.headers["x-mesh-adjusted"] == "input split into 3 requests"
    row = mesh.usage_of(raw.headers["x-request-id"])
    assert (row.prompt_tokens, row.adjusted) == (15, ["input split into 3 requests"])


def test_embeddings_of_which_a_batch_fails_fail_and_their_cost_is_known(mesh, upstream, small):
    upstream.script(Fault.answer(), Fault.answer(), Fault.status(500))

    answer = mesh.post(EMBEDDINGS, {"model": "small/local-embed", "input": ["one", "two", "three", "four", "five"]})

    check_refusal(answer, 503, "upstream_unavailable")
    assert mesh.usage(answer).prompt_tokens == sum(bill.prompt for bill in upstream.billed.values()) == 4


def looking(*urls):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "What is it?"}, *parts]
    return {"model": "small/local-chat", "messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize("stream", [False, True])
def test_callers_do_not_reach_through_pictures_what_connections_may_reach(mesh, upstream, small, stream):
    answer = mesh.post(CHAT, {**looking(f"http://127.0.0.1:{upstream.port}/fish.png"), "stream": stream})

    check_refusal(answer, 400, "invalid_value")
    assert "not allowed" in answer.error["message"]
    assert upstream.requests == []
    assert mesh.usage(answer).state == "error"


def test_too_many_pictures_are_refused_at_once(mesh, upstream, small):
    answer = mesh.post(CHAT, looking(*(f"https://pictures.test/{number}.png" for number in range(21))))

    check_refusal(answer, 400, "invalid_value")
    assert "more than 20 pictures" in answer.error["message"]


# --- pictures and reranking


@pytest.fixture
def other_models(mesh, upstream):
    """A model for pictures and one for reranking."""
    connection = Connection.objects.get(name="compatible")
    with transaction.atomic():
        for upstream_id, mode in (("flux", Mode.IMAGE), ("bge", Mode.RERANK)):
            public_id = f"compatible/{upstream_id}"
            Model.objects.get_or_create(connection=connection, public_id=public_id, upstream_id=upstream_id, mode=mode)
        Grant.objects.get_or_create(group=Group.objects.get(name=EVERYONE), connection=connection, model=None)
        audit.announce()
    mesh.refresh()


def test_pictures_through_the_official_client(mesh, client, upstream, other_models):
    raw = client.images.with_raw_response.generate(
        model="compatible/flux", prompt="A fish", n=2, size="1024x1024", response_format="b64_json"
    )

    answer = raw.parse()
    assert [picture.revised_prompt for picture in answer.data] == ["A fish!"] * 2
    assert all(picture.b64_json.startswith("iVBOR") for picture in answer.data)
    assert upstream.requests[0].json["size"] == "1024x1024"
    row = mesh.usage_of(raw.headers["x-request-id"])
    assert (row.mode, row.images, row.state, row.estimated) == ("image", 2, "ok", False)


def test_pictures_by_their_address(client, upstream, other_models):
    answer = client.images.generate(model="compatible/flux", prompt="A fish", response_format="url")

    assert answer.data[0].url.startswith("https://pictures.test/")


def test_a_picture_model_may_refuse(mesh, upstream, other_models):
    refusal = {"error": {"message": "Blocked.", "code": "content_policy_violation", "type": "invalid_request_error"}}
    upstream.script(Fault.body(json.dumps(refusal).encode(), status=400))

    answer = mesh.post("/v1/images/generations", {"model": "compatible/flux", "prompt": "A fish"})

    check_refusal(answer, 400, "content_filter")
    assert mesh.usage(answer).images == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "\u200b"}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": ["A fish"]}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"size": "1e9x1e9"}, "size"),
        ({"size": "0x0"}, "size"),
        ({"size": "100000x1"}, "size"),
        ({"size": 1024}, "size"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": "2"}, "n"),
        ({"response_format": "png"}, "response_format"),
        ({"response_format": {"type": "url"}}, "response_format"),
        ({"output_format": "svg"}, "output_format"),
        ({"quality": "x" * 20_000}, "quality"),
        ({"stream": True}, "stream"),
        ({"image": "data:"}, "image"),
    ],
)
def test_bad_picture_calls_are_refused(mesh, upstream, other_models, fields, param):
    answer = mesh.post("/v1/images/generations", {"model": "compatible/flux", "prompt": "A fish", **fields})

    check_refusal(answer, 400, "unknown_field" if param == "image" else "invalid_value", param)
    assert upstream.requests == []


def test_documents_are_reranked(mesh, upstream, other_models):
    body = {"model": "compatible/bge", "query": "red fish", "documents": ["a bird", "a red fish", "a fish"], "top_n": 2}

    answer = mesh.post("/v1/rerank", body)

    assert answer.status == 200
    assert answer.json["results"] == [{"index": 1, "relevance_score": 1.0}, {"index": 2, "relevance_score": 0.5}]
    row = mesh.usage(answer)
    assert (row.mode, row.prompt_tokens, row.state) == ("rerank", 9, "ok")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": " "}, "query"),
        ({"query": ["red"]}, "query"),
        ({"query": "x" * 100_001}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a bird"}, "documents"),
        ({"documents": ["a bird", ""]}, "documents"),
        ({"documents": [{"text": "a bird"}]}, "documents"),
        ({"documents": ["a"] * 10_001}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"stream": True}, "stream"),
        ({"input": "a"}, "input"),
    ],
)
def test_bad_rerank_calls_are_refused(mesh, upstream, other_models, fields, param):
    answer = mesh.post("/v1/rerank", {"model": "compatible/bge", "query": "red", "documents": ["a bird"], **fields})

    check_refusal(answer, 400, "unknown_field" if param == "input" else "invalid_value", param)
    assert upstream.requests == []
