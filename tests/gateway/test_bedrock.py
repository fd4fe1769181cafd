"""Calls through the real server to AWS Bedrock's dialect, which recomputes each signature from what arrives."""

import json

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from access import keys
from access.models import EVERYONE, User
from access.roles import Role, Scope
from connections.models import Connection
from connections.providers.calls import Mode
from tests.canary import database_dump, leaks
from tests.mesh import make_connection, serving
from tests.upstream import sigv4
from tests.upstream.bedrock import BEARER, LLAMA, NOVA, PROFILE, STABLE_IMAGE, TITAN_EMBED, exception, lent_secret
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one two three"}]
KEYS = {"access_key_id": sigv4.KEY_ID, "secret_access_key": sigv4.SECRET}
ROLE = "arn:aws:iam::123456789012:role/mesh"
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}},
}


def settings_for(upstream, **more):
    root = f"http://127.0.0.1:{upstream.port}/bedrock"
    return {"region": "us-east-1", "endpoint_url": root, "control_url": root, "sts_url": f"{root}/sts", **more}


@pytest.fixture(scope="module")
def served(django_db_setup, django_db_blocker, upstream_server):
    with django_db_blocker.unblock():
        everyone, _ = Group.objects.get_or_create(name=EVERYONE)

        def connect(name, models, secrets, kind="bedrock", options=None, **more):
            settings = settings_for(upstream_server, **more)
            if kind != "bedrock":
                settings = {name: settings[name] for name in ("region", "sts_url", "role_arn") if name in settings}
            given = {"name": name, "kind": kind, "settings": settings, "secrets": secrets, "options": options}
            return make_connection(upstream_server, "bedrock", models, everyone, **given)

        models = {NOVA: Mode.CHAT, LLAMA: Mode.COMPLETION, TITAN_EMBED: Mode.EMBEDDING, STABLE_IMAGE: Mode.IMAGE}
        connect("bedrock", models, KEYS)
        connect("profiled", {NOVA: Mode.CHAT, PROFILE: Mode.CHAT}, KEYS, inference_profile="us")
        connect("role", {NOVA: Mode.CHAT}, KEYS, role_arn=ROLE, external_id="partner-7")
        connect("bearer", {NOVA: Mode.CHAT}, {"api_key": BEARER})
        lender = connect("keys", {}, KEYS, kind="aws_credential", role_arn=ROLE)
        connect("borrower", {NOVA: Mode.CHAT}, {}, credential=str(lender.pk))
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


def routes(upstream):
    return [request.route for request in upstream.requests]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_signed_answered_and_counted(mesh, upstream, stream):
    upstream.always(Fault.answer(cached=2))

    answer = mesh.post(CHAT, {"model": f"bedrock/{NOVA}", "messages": HELLO, "stream": stream, "top_k": 3})

    assert answer.text == "one two three"
    assert answer.headers["x-mesh-adjusted"] == "top_k renamed to inferenceConfig.topK"
    row = mesh.usage(answer)
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.estimated) == (7, 3, 2, False)
    assert not stream or answer.events[-1] == "[DONE]"


def test_a_tool_is_called_in_a_stream_and_its_answer_taken_back(mesh, upstream):
    asked = {"model": f"bedrock/{NOVA}", "tools": [TOOL], "tool_choice": "required"}

    answer = mesh.post(CHAT, {**asked, "messages": HELLO, "stream": True})
    said = mesh.post(CHAT, {**asked, "messages": HELLO}).json["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "A fish."}
    second = mesh.post(CHAT, {**asked, "messages": [*HELLO, said, result]})

    choices = [choice for chunk in answer.chunks for choice in chunk["choices"]]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls") or []]
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"word": "text"}
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert second.text == "A fish."


def test_an_exception_inside_a_stream_ends_it_after_what_came(mesh, upstream):
    async def act(exchange):
        stream = await exchange.stream_head()
        await exchange.events(stream, stream.events[:3])
        await exchange.chunk(exception("modelStreamErrorException", f"It broke for {sigv4.SECRET}."))
        await exchange.chunk(b"")

    upstream.script(Fault("exception", act))

    answer = mesh.post(CHAT, {"model": f"bedrock/{NOVA}", "messages": HELLO, "stream": True})

    assert answer.text == "one two "
    assert answer.chunks[-1]["error"]["code"] == "upstream_unavailable"
    assert "[DONE]" not in answer.events
    assert sigv4.SECRET not in answer.body.decode()
    assert mesh.usage(answer).state == "error"


def test_a_damaged_stream_is_an_error(mesh, upstream):
    async def act(exchange):
        stream = await exchange.stream_head()
        await exchange.chunk(stream.events[0].data[:-1] + b"\x00")
        await exchange.chunk(b"")

    upstream.script(Fault("damaged", act))

    answer = mesh.post(CHAT, {"model": f"bedrock/{NOVA}", "messages": HELLO, "stream": True})

    assert mesh.usage(answer).state == "error"
    assert "[DONE]" not in answer.events


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (f"profiled/{NOVA}", "us.amazon.nova-lite-v1%3A0"),
        (
            f"profiled/{PROFILE}",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123def456",
        ),
    ],
)
def test_profile_and_arn_arrive_as_one_segment(mesh, upstream, model, path):
    answer = mesh.post(CHAT, {"model": model, "messages": HELLO})

    assert answer.text == "one two three"
    assert routes(upstream) == [f"/model/{path}/converse"]


def test_a_bedrock_key_needs_no_signature(mesh, upstream):
    assert mesh.post(CHAT, {"model": f"bearer/{NOVA}", "messages": HELLO}).text == "one two three"


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_call_is_told_without_keys(mesh, upstream, stream):
    upstream.script(Fault.status(403, json.dumps({"message": f"No such key {sigv4.KEY_ID}"}).encode()))

    answer = mesh.post(CHAT, {"model": f"bedrock/{NOVA}", "messages": HELLO, "stream": stream})

    assert answer.status == 502
    assert sigv4.KEY_ID not in answer.body.decode()


# --- roles -----------------------------------------------------------------------------------------------

EXPIRED = Fault.status(403, b'{"message":"The token is expired"}', x_amzn_errortype="ExpiredTokenException:http://x/")


@pytest.mark.parametrize("stream", [False, True])
def test_expired_keys_of_a_role_are_fetched_again_within_the_call(mesh, upstream, stream):
    asked = {"model": f"role/{NOVA}", "messages": HELLO, "stream": stream}
    mesh.post(CHAT, asked)
    upstream.requests.clear()
    upstream.script(EXPIRED)

    answer = mesh.post(CHAT, asked)

    assert answer.text == "one two three"
    operation = "converse-stream" if stream else "converse"
    call = f"/model/amazon.nova-lite-v1%3A0/{operation}"
    assert routes(upstream) == [call, "/sts/", call]
    assert b"ExternalId=partner-7" in upstream.requests[1].body
    upstream.requests.clear()
    assert mesh.post(CHAT, asked).text == "one two three"
    assert routes(upstream) == [call]


def test_keys_that_are_refused_again_are_an_error(mesh, upstream):
    mesh.post(CHAT, {"model": f"role/{NOVA}", "messages": HELLO})
    upstream.script(EXPIRED, Fault.answer(), EXPIRED)

    answer = mesh.post(CHAT, {"model": f"role/{NOVA}", "messages": HELLO})

    assert answer.status == 502


def test_a_borrower_calls_with_the_role_that_its_lender_assumes(mesh, upstream):
    answer = mesh.post(CHAT, {"model": f"borrower/{NOVA}", "messages": HELLO})

    assert answer.text == "one two three"
    key_id = upstream.requests[-1].headers["authorization"].partition("Credential=")[2].partition("/")[0]
    assert key_id.startswith("ASIALENT")
    assert leaks(database_dump(), [*KEYS.values(), BEARER, lent_secret(key_id)]) == []
    assert bytes(Connection.objects.get(name="borrower").sealed) == b""


# --- models by their own JSON ----------------------------------------------------------------------------


def test_texts_are_embedded_one_by_one(mesh, upstream):
    answer = mesh.post("/v1/embeddings", {"model": f"bedrock/{TITAN_EMBED}", "input": ["a", "bcd", "ef"]})

    assert [item["embedding"][0] for item in answer.json["data"]] == [1.0, 3.0, 2.0]
    assert answer.json["usage"]["prompt_tokens"] == 3
    assert answer.headers["x-mesh-adjusted"] == "input split into 3 requests"


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_is_invoked(mesh, upstream, stream):
    body = {"model": f"bedrock/{LLAMA}", "prompt": "one two three", "max_tokens": 2, "stream": stream}

    answer = mesh.post("/v1/completions", body)

    choices = [choice for chunk in answer.chunks for choice in chunk["choices"]] if stream else answer.json["choices"]
    assert "".join(choice["text"] for choice in choices) == "one two "
    assert choices[-1]["finish_reason"] == "length"
    row = mesh.usage(answer)
    assert (row.prompt_tokens, row.completion_tokens) == (3, 2)


def test_a_conversation_is_written_down_for_a_completion_model(mesh, upstream):
    answer = mesh.post(CHAT, {"model": f"bedrock/{LLAMA}", "messages": HELLO})

    assert answer.status == 200
    prompt = upstream.requests[0].json["prompt"]
    assert prompt.startswith("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>")


def test_a_picture_is_made(mesh, upstream):
    answer = mesh.post("/v1/images/generations", {"model": f"bedrock/{STABLE_IMAGE}", "prompt": "A fish"})

    assert answer.json["data"][0]["b64_json"].startswith("iVBOR")
