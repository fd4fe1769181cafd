"""Replicate: how a model is named, what it takes, and the steps of a prediction."""

import json

import pytest

from connections.providers import errors
from connections.providers.calls import Answer, Call, Mode, Outgoing, Pause, Reply, Target
from tests.providers.conftest import make

BASE = "https://api.replicate.com/v1"
LLAMA = "meta/meta-llama-3-70b-instruct"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
ID = "gm3qorzdhgbfurvjtvhg6dckhu"


def a_chat(upstream_id=LLAMA, stream=False, options=None, **body):
    messages = body.pop("messages", [{"role": "user", "content": "Hi"}])
    return Call(Mode.CHAT, Target(upstream_id, options=options or {}), {"messages": messages, **body}, stream=stream)


def told(content, status=200):
    return Answer(status, {}, json.dumps(content).encode())


def schema(*keys):
    return {"openapi_schema": {"components": {"schemas": {"Input": {"properties": {key: {} for key in keys}}}}}}


def prediction(status, output=None, **urls):
    return told({"id": ID, "status": status, "output": output, "urls": urls}, 201)


def created(call, *keys, provider=None):
    """The request that creates a prediction of a model with these input keys, and the steps after it."""
    steps = (provider or make("replicate")).steps(call)
    next(steps)
    request = steps.send(told({"latest_version": schema(*keys)}))
    return json.loads(request.body)["input"], steps


def result(steps, answer):
    with pytest.raises(StopIteration) as done:
        steps.send(answer)
    return done.value.value


# --- what a model takes ----------------------------------------------------------------------------------


def test_a_model_gets_only_what_its_schema_has_under_its_own_names():
    call = a_chat(max_tokens=50, temperature=0.5, seed=7, top_k=3)

    body, _ = created(call, "prompt", "max_tokens", "temperature")

    assert body == {"prompt": "Hi", "max_tokens": 50, "temperature": 0.5}
    assert list(map(str, call.adjusted)) == ["seed dropped", "top_k dropped"]


def test_a_model_that_takes_messages_gets_them():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

    body, _ = created(a_chat(messages=messages), "messages", "prompt")

    assert body == {"messages": messages}


def test_a_conversation_is_written_in_the_models_own_format_where_the_server_leaves_it_alone():
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    call = a_chat(messages=[*messages, {"role": "user", "content": "Go on."}], stop=["END"])

    body, _ = created(call, "prompt", "prompt_template", "stop_sequences")

    assert body["prompt_template"] == "{prompt}"
    assert body["prompt"].startswith("<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>")
    assert body["stop_sequences"] == "END"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (("prompt", "image"), {"image": "https://img.test/a.png"}),
        (("prompt", "image_input"), {"image_input": ["https://img.test/a.png"]}),
        (("prompt", "images"), {"images": ["https://img.test/a.png"]}),
    ],
)
def test_a_picture_goes_where_the_model_looks_for_it(keys, found):
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "https://img.test/a.png"}},
    ]

    body, _ = created(a_chat(messages=[{"role": "user", "content": parts}]), *keys)

    assert body == {"prompt": "What is it?", **found}


def test_a_model_without_eyes_refuses_pictures():
    parts = [{"type": "image_url", "image_url": {"url": "https://img.test/a.png"}}]

    with pytest.raises(errors.RequestRefused, match="no pictures"):
        created(a_chat(messages=[{"role": "user", "content": parts}]), "prompt")


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        (("width", "height"), {"width": 1024, "height": 576}),
        (("aspect_ratio",), {"aspect_ratio": "16:9"}),
        (("size",), {"size": "1024x576"}),
        ((), {}),
    ],
)
def test_a_size_is_said_as_the_model_says_it(keys, sent):
    call = Call(Mode.IMAGE, Target("a/flux", Mode.IMAGE), {"prompt": "A fish", "size": "1024x576"})

    body, _ = created(call, "prompt", *keys)

    assert body == {"prompt": "A fish", **sent}
    assert ["size" in str(one) for one in call.adjusted] == ([] if keys == ("size",) else [True])


def test_the_schema_is_read_once():
    provider, call = make("replicate"), a_chat()
    created(call, "prompt", provider=provider)

    assert next(provider.steps(call)).method == "POST"


@pytest.mark.parametrize(
    ("upstream_id", "asked"),
    [
        (f"{LLAMA}:{VERSION}", [(f"models/{LLAMA}/versions/{VERSION}", schema("prompt"))]),
        (
            "deployments/acme/chat",
            [
                ("deployments/acme/chat", {"current_release": {"model": LLAMA, "version": VERSION}}),
                (f"models/{LLAMA}/versions/{VERSION}", schema("prompt")),
            ],
        ),
        (VERSION, []),
    ],
)
def test_the_schema_is_that_of_the_version(upstream_id, asked):
    steps = make("replicate").steps(a_chat(upstream_id))
    step = next(steps)
    for path, answer in asked:
        assert step == Outgoing("GET", f"{BASE}/{path}")
        step = steps.send(told(answer))

    assert step.method == "POST"


def test_a_model_without_a_readable_schema_is_asked_all_the_same():
    steps = make("replicate").steps(a_chat())
    next(steps)

    assert steps.send(told({"detail": "Not found"}, 404)).url == f"{BASE}/models/{LLAMA}/predictions"


def test_a_refused_token_shows_at_the_schema():
    steps = make("replicate").steps(a_chat())
    next(steps)

    with pytest.raises(errors.KeyRefused):
        steps.send(told({"detail": "Unauthenticated"}, 401))


@pytest.mark.parametrize("name", ["llama", "a/b/c", "../account", "a/b?x", "a/b:latest", f"deployments/a/b:{VERSION}"])
def test_a_name_of_another_form_is_refused(name):
    with pytest.raises(errors.RequestRefused, match="owner/name"):
        make("replicate").request(a_chat(name))


# --- the steps -------------------------------------------------------------------------------------------


def test_a_prediction_that_is_not_over_is_asked_after_and_can_be_cancelled():
    call = a_chat()
    _, steps = created(call, "prompt")

    assert steps.send(prediction("starting")) == Pause(0.5)
    assert call.on_leave == Outgoing("POST", f"{BASE}/predictions/{ID}/cancel")
    assert steps.send(None) == Outgoing("GET", f"{BASE}/predictions/{ID}")
    assert steps.send(prediction("processing")) == Pause(0.5)
    steps.send(None)
    reply = result(steps, prediction("succeeded", ["Hel", "lo"]))
    assert json.loads(reply.body)["choices"][0]["message"]["content"] == "Hello"
    assert call.on_leave is None


@pytest.mark.parametrize("status", ["failed", "canceled", "aborted"])
def test_a_prediction_that_failed_says_so(status):
    _, steps = created(a_chat(), "prompt")

    with pytest.raises(errors.ServerFailed):
        steps.send(prediction(status))


def opened(url):
    opening = make("replicate").opening(a_chat(VERSION, stream=True))
    assert json.loads(next(opening).body)["stream"] is True
    return opening, prediction("starting", stream=url)


@pytest.mark.parametrize("url", [f"{BASE}/streams/1", "https://stream.replicate.com/v1/files/x"])
def test_a_stream_is_read_at_its_own_address(url):
    opening, answer = opened(url)

    found = result(opening, answer)

    assert (found.url, found.headers["Accept"]) == (url, "text/event-stream")


@pytest.mark.parametrize(
    "url", [None, "https://evil.test/x", "http://stream.replicate.com/x", "https://a@stream.replicate.com.evil.test/"]
)
def test_without_a_stream_of_replicates_own_the_answer_is_awaited(url):
    opening, answer = opened(url)

    assert opening.send(answer) == Pause(0.5)
    assert opening.send(None).url == f"{BASE}/predictions/{ID}"
    assert isinstance(result(opening, prediction("succeeded", "Hello")), Reply)


def test_listed_are_language_and_picture_models():
    provider = make("replicate")
    steps = provider.listing(told({"type": "user", "username": "ada"}))

    assert next(steps).url == f"{BASE}/collections/language-models"
    item = {"owner": "acme", "name": "own", "is_official": False, "latest_version": {"id": VERSION}}
    language = {"models": [{"owner": "openai", "name": "gpt-5-mini", "is_official": True}, item]}
    assert steps.send(told(language)).url == f"{BASE}/collections/text-to-image"
    found = result(steps, told({"models": [{"owner": "black-forest-labs", "name": "flux-schnell"}]}))
    assert [(info.id, info.mode) for info in found] == [
        ("openai/gpt-5-mini", Mode.CHAT),
        (f"acme/own:{VERSION}", Mode.CHAT),
        ("black-forest-labs/flux-schnell", Mode.IMAGE),
    ]
