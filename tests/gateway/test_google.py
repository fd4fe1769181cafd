"""Calls through the real server to Google's hosts of Gemini, with tokens from Google's token service."""

import base64
import json
import struct

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from access import keys
from access.models import EVERYONE, User
from access.roles import Role, Scope
from connections.providers.calls import Mode
from tests.mesh import make_connection, serving
from tests.upstream.faults import Fault
from tests.upstream.google import BLOCKED, PICTURE, SIGNATURE
from tests.upstream.google_identity import TOKEN, file_of

CHAT = "/v1/chat/completions"
MODELS = {
    "gemini-3.8-flash": Mode.CHAT,
    "gemini-2.5-flash": Mode.CHAT,
    "gemini-embedding-2": Mode.EMBEDDING,
    "gemini-3-pro-image": Mode.IMAGE,
}
ON_VERTEX = MODELS | {
    "gemini-embedding-2": Mode.CHAT,
    "text-embedding-005": Mode.EMBEDDING,
    "claude-sonnet-4-6": Mode.CHAT,
    "imagen-3.0-generate-002": Mode.IMAGE,
    "endpoints/1234567890": Mode.CHAT,
    "meta/llama-3.3-70b-instruct-maas": Mode.CHAT,
}
HOSTS = ["gemini", "vertex"]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"word": {}}}}}
    for name in ("look_up", "translate")
]


def vertex_settings(upstream, **more):
    url, identity = upstream.url("vertex"), f"{upstream.url('google_identity')}/token"
    return {"base_url": url, "sign_in_url": identity, "location": "us-central1", **more}


@pytest.fixture(scope="module")
def served(django_db_setup, django_db_blocker, upstream_server):
    """One application with a connection to each host, and one to Vertex that is not used before its test."""
    with django_db_blocker.unblock():
        everyone, _ = Group.objects.get_or_create(name=EVERYONE)
        make_connection(upstream_server, "gemini", MODELS, everyone, kind="gemini")
        for name in ("vertex", "fresh"):
            settings, secrets = vertex_settings(upstream_server), {"credentials": file_of()}
            make_connection(
                upstream_server, "vertex", ON_VERTEX, everyone, name=name, kind="vertex", settings=settings,
                secrets=secrets,
            )  # fmt: skip
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


def chat(model, text="one two three", **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def asked(upstream):
    """The requests for answers, without those for tokens."""
    return [request for request in upstream.requests if request.dialect != "google_identity"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_answered_and_metered(mesh, upstream, host, stream):
    upstream.always(Fault.answer(cached=2, reasoning=4))

    body = chat(f"{host}/gemini-3.8-flash", "Größe 🙂 日本", stream=stream, max_tokens=50, reasoning_effort="low")
    answer = mesh.post(CHAT, body)

    assert answer.text == "Größe 🙂 日本"
    assert "reasoning_effort sent as thinking level LOW" in answer.headers["x-mesh-adjusted"]
    row = mesh.usage(answer)
    [bill] = upstream.billed.values()
    assert (row.prompt_tokens, row.completion_tokens) == (bill.prompt, bill.completion) == (5, 7)
    assert (row.cached_tokens, row.reasoning_tokens, row.estimated) == (2, 4, False)
    assert row.cost


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_with_tools_keeps_the_signature(mesh, upstream, host, stream):
    """The model refuses to go on without it, and clients know OpenAI's shape only."""
    body = chat(f"{host}/gemini-3.8-flash", tools=TOOLS)
    first = mesh.post(CHAT, body).json["choices"][0]
    assert first["finish_reason"] == "tool_calls"
    calls = [{name: call[name] for name in ("id", "type", "function")} for call in first["message"]["tool_calls"]]
    assert [call["function"]["name"] for call in calls] == ["look_up", "translate"]

    body["messages"] += [{"role": "assistant", "content": None, "tool_calls": calls}]
    body["messages"] += [
        {"role": "tool", "tool_call_id": call["id"], "content": f"For {call['function']['name']}."}
        for call in reversed(calls)
    ]
    second = mesh.post(CHAT, {**body, "stream": stream})

    assert second.text == "For translate."
    parts = asked(upstream)[-1].json["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [SIGNATURE, None]


@pytest.mark.parametrize("host", HOSTS)
def test_leaving_a_stream_closes_the_call_to_google(mesh, upstream, host):
    upstream.always(Fault.answer(chunks=400, delay=0.02))
    body = chat(f"{host}/gemini-3.8-flash", stream=True)

    with mesh.open("POST", CHAT, body) as answer:
        while b"word3" not in answer.readline():
            pass

    assert asked(upstream)[-1].disconnected.wait(20)


def test_tool_calls_come_whole_in_a_stream(mesh):
    answer = mesh.post(CHAT, chat("vertex/gemini-3.8-flash", tools=TOOLS, stream=True))

    choices = [choice for chunk in answer.chunks for choice in chunk["choices"]]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", [])]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "look_up"), (1, "translate")]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["tool_calls"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_prompt_is_told_as_such(mesh, host, stream):
    answer = mesh.post(CHAT, chat(f"{host}/gemini-3.8-flash", f"Say the {BLOCKED}.", stream=stream))

    error = json.loads(answer.events[-1])["error"] if stream and answer.status == 200 else answer.error
    assert "filter refused the prompt (PROHIBITED_CONTENT)" in error["message"]


def test_an_answer_that_the_filter_cuts_ends_with_content_filter(mesh, upstream):
    upstream.always(Fault.answer(finish="SAFETY"))

    answer = mesh.post(CHAT, chat("gemini/gemini-3.8-flash"))

    assert answer.json["choices"][0]["finish_reason"] == "content_filter"


def test_several_answers_are_asked_for_at_once_and_never_streamed(mesh, upstream):
    answer = mesh.post(CHAT, chat("vertex/gemini-3.8-flash", n=3, stream=True))

    assert {choice["index"] for chunk in answer.chunks for choice in chunk["choices"]} == {0, 1, 2}
    assert "stream answered whole" in answer.headers["x-mesh-adjusted"]
    assert [request.json["generationConfig"] for request in asked(upstream)] == [{"candidateCount": 3}]


def test_json_that_fits_a_schema_is_asked_for(mesh):
    schema = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
    wished = {"type": "json_schema", "json_schema": {"name": "fish", "schema": schema}}

    answer = mesh.post(CHAT, chat("gemini/gemini-2.5-flash", response_format=wished))

    assert json.loads(answer.text) == {"size": 1}


@pytest.mark.parametrize(
    ("model", "most", "requests"), [("gemini/gemini-embedding-2", 100, 2), ("vertex/text-embedding-005", 250, 1)]
)
def test_many_texts_are_split_and_put_together_again(mesh, upstream, model, most, requests):
    texts = [f"text {number}" for number in range(101)]

    answer = mesh.post("/v1/embeddings", {"model": model, "input": texts, "dimensions": 4})

    data = answer.json["data"]
    assert [item["index"] for item in data] == list(range(101))
    assert len({tuple(item["embedding"]) for item in data}) > 90
    assert len(asked(upstream)) == requests
    assert mesh.usage(answer).prompt_tokens == sum(bill.prompt for bill in upstream.billed.values()) == 202


def test_vectors_come_packed_to_those_who_ask_for_that(mesh):
    body = {"model": "gemini/gemini-embedding-2", "input": "Hi"}

    packed = mesh.post("/v1/embeddings", {**body, "encoding_format": "base64"}).json["data"][0]["embedding"]
    plain = mesh.post("/v1/embeddings", body).json["data"][0]["embedding"]

    assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(plain)


@pytest.mark.parametrize("host", HOSTS)
def test_a_picture_is_drawn(mesh, upstream, host):
    body = {"model": f"{host}/gemini-3-pro-image", "prompt": "A fish", "size": "1792x1024"}

    answer = mesh.post("/v1/images/generations", body)

    assert [item["b64_json"] for item in answer.json["data"]] == [PICTURE]
    assert "size sent as aspect ratio 16:9" in answer.headers["x-mesh-adjusted"]
    assert mesh.usage(answer).images == 1


def test_filtered_pictures_are_missing(mesh):
    some = mesh.post("/v1/images/generations", {"model": "vertex/imagen-3.0-generate-002", "prompt": "A fish", "n": 3})
    none = mesh.post("/v1/images/generations", {"model": "vertex/imagen-3.0-generate-002", "prompt": BLOCKED})

    assert len(some.json["data"]) == 2
    assert none.status == 400
    assert "let no picture through" in none.error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_claude_speaks_its_own_dialect_on_vertex(mesh, upstream, stream):
    answer = mesh.post(CHAT, chat("vertex/claude-sonnet-4-6", stream=stream, max_tokens=50))

    assert answer.text == "one two three"
    assert asked(upstream)[-1].route.endswith("RawPredict" if stream else ":rawPredict")
    assert mesh.usage(answer).cost


@pytest.mark.parametrize("stream", [False, True])
def test_open_models_are_asked_in_openais_dialect(mesh, upstream, stream):
    answer = mesh.post(CHAT, chat("vertex/meta/llama-3.3-70b-instruct-maas", stream=stream))

    assert answer.text == "one two three"
    row = mesh.usage(answer)
    assert (row.prompt_tokens, row.completion_tokens, row.estimated) == (3, 3, False)


def test_an_endpoint_of_the_project_is_called_by_its_number(mesh, upstream):
    answer = mesh.post(CHAT, chat("vertex/endpoints/1234567890"))

    assert answer.text == "one two three"
    assert asked(upstream)[-1].route.endswith("/locations/us-central1/endpoints/1234567890:generateContent")


def test_a_wrong_key_is_the_connections_fault(mesh, upstream):
    refusal = b'{"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}'
    upstream.always(Fault.status(400, refusal))

    answer = mesh.post(CHAT, chat("gemini/gemini-3.8-flash"))

    assert (answer.status, answer.error["code"]) == (502, "upstream_auth_error")


def test_a_token_that_ran_out_is_renewed_and_a_good_one_is_used_again(mesh, upstream):
    """The first token lives for an instant only."""
    brief = {"access_token": f"{TOKEN}-brief", "expires_in": 0.0001, "token_type": "Bearer"}
    upstream.script(Fault.body(json.dumps(brief).encode()))

    for text in ("one", "two", "three"):
        assert mesh.post(CHAT, chat("fresh/gemini-3.8-flash", text)).text == text

    dialects = [request.dialect for request in upstream.requests]
    assert dialects == ["google_identity", "vertex", "google_identity", "vertex", "vertex"]
    proofs = [request.headers["authorization"] for request in asked(upstream)]
    assert proofs[0].endswith("-brief")
    assert proofs[1] == proofs[2] != proofs[0]
