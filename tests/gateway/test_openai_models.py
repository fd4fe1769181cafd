"""OpenAI's models that are not asked for chats on the usual route: those of the Responses API, and for pictures."""

import openai
import pytest

from access.models import EVERYONE
from connections.providers.calls import Mode
from tests.mesh import make_connection
from tests.upstream.faults import Fault

MODELS = {"o3-pro": Mode.CHAT, "gpt-5-codex": Mode.CHAT, "gpt-image-2": Mode.IMAGE, "dall-e-3": Mode.IMAGE}
THINKERS = ["o3-pro", "gpt-5-codex"]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {"const": "Rome"}}}}}


@pytest.fixture(scope="module")
def mesh(shared_mesh, upstream_server):
    from django.contrib.auth.models import Group

    everyone = Group.objects.get(name=EVERYONE)
    url = upstream_server.url("responses")
    make_connection(upstream_server, "responses", MODELS, everyone, kind="openai", name="newer", url=url)
    shared_mesh.refresh()
    return shared_mesh


@pytest.fixture
def client(mesh, upstream):
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=0, timeout=30) as made:
        yield made


def said(text):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


# --- the Responses API -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", THINKERS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_answered(client, upstream, name, stream):
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = client.chat.completions.create(
        model=f"newer/{name}", messages=said("one two"), reasoning_effort="low", **options
    )

    chunks = list(answer) if stream else [answer]
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    texts = [(choice.delta if stream else choice.message).content or "" for choice in choices]
    assert "".join(texts) == "one two"
    assert choices[-1].finish_reason == "stop"
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (4, 2)
    assert upstream.requests[0].route == "/v1/responses"


@pytest.mark.parametrize("name", THINKERS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called(client, name, stream):
    answer = client.chat.completions.create(model=f"newer/{name}", messages=said("Rain?"), tools=[TOOL], stream=stream)

    parts = [chunk.choices[0].delta for chunk in answer] if stream else [answer.choices[0].message]
    calls = [call for part in parts for call in part.tool_calls or []]
    assert (calls[0].id, calls[0].function.name) == ("call_1", "weather")
    assert "".join(call.function.arguments for call in calls).replace(" ", "") == '{"city":"Rome"}'


def test_a_result_of_a_tool_is_answered(client):
    called = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        *said("Rain?"),
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "It rains."},
    ]

    answer = client.chat.completions.create(model="newer/o3-pro", messages=messages)

    assert answer.choices[0].message.content == "It rains."


def test_a_small_limit_is_raised_and_told(mesh, upstream):
    upstream.script(Fault.answer(chunks=20))
    body = {"model": "newer/o3-pro", "messages": said("one"), "max_tokens": 2}

    answer = mesh.post("/v1/chat/completions", body)

    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert "max_tokens clamped to 16" in answer.headers["x-mesh-adjusted"]


def test_a_stream_that_breaks_is_an_error(client, upstream):
    upstream.script(Fault.ends_early(4, chunks=20))

    with pytest.raises(openai.APIError, match="cut off"):
        list(client.chat.completions.create(model="newer/gpt-5-codex", messages=said("one"), stream=True))


# --- pictures --------------------------------------------------------------------------------------------


def test_pictures_are_drawn(client, upstream):
    answer = client.images.generate(model="newer/gpt-image-2", prompt="A fish", n=2, size="1024x1024", quality="high")

    assert len(answer.data) == 2
    assert all(picture.b64_json for picture in answer.data)
    [request] = upstream.requests
    assert request.json["n"] == 2


def test_a_model_that_draws_one_at_a_time_is_asked_again(client, upstream):
    answer = client.images.generate(model="newer/dall-e-3", prompt="A fish", n=3, response_format="b64_json")

    assert len(answer.data) == 3
    assert len(upstream.requests) == 3


def test_a_picture_costs_what_its_class_costs(mesh, upstream):
    body = {"model": "newer/dall-e-3", "prompt": "A fish", "quality": "hd", "size": "1792x1024"}

    row = mesh.usage(mesh.post("/v1/images/generations", body | {"response_format": "b64_json"}))

    assert (row.images, row.cost) == (1, 120_000_000)


def test_tokens_of_pictures_are_counted(mesh, upstream):
    upstream.script(Fault.usage({"input_tokens": 11, "output_tokens": 500, "total_tokens": 511}))

    row = mesh.usage(mesh.post("/v1/images/generations", {"model": "newer/gpt-image-2", "prompt": "A fish"}))

    assert (row.images, row.prompt_tokens, row.completion_tokens) == (1, 11, 500)


def test_a_refused_picture_is_the_callers_to_mend(client, upstream):
    upstream.script(Fault.body(b'{"error": {"message": "No such fish.", "code": "moderation_blocked"}}', status=400))

    with pytest.raises(openai.BadRequestError, match="No such fish") as raised:
        client.images.generate(model="newer/gpt-image-2", prompt="A fish")

    assert raised.value.code == "content_filter"
