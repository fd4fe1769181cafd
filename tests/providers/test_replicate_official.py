"""Replicate's own client beside our adapter: it makes the same requests and reads the same answers."""

import json
from typing import Any

import pytest

from connections.providers.calls import Answer, Call, Mode, Target
from tests.providers.conftest import files, make
from tests.providers.official import HELLO, Official, key_of, ours, recorded


@pytest.fixture
def sdk():
    import httpx
    import replicate
    from replicate.exceptions import ReplicateError

    sdk = Official(httpx, ReplicateError)
    sdk.client = replicate.Client(api_token=key_of("replicate"), transport=sdk.transport)
    return sdk


@pytest.mark.proves(kind="replicate", mode="chat", by="official SDK")
@recorded("replicate", "chat_request*.json")
def test_it_asks_for_a_chat_as_we_do(sdk, path):
    asked_as_we_do(sdk, path)


@pytest.mark.proves(kind="replicate", mode="completion", by="official SDK")
@recorded("replicate", "completion_request*.json")
def test_it_asks_for_a_completion_as_we_do(sdk, path):
    asked_as_we_do(sdk, path)


@pytest.mark.proves(kind="replicate", mode="image", by="official SDK")
@recorded("replicate", "image_request*.json")
def test_it_asks_for_pictures_as_we_do(sdk, path):
    asked_as_we_do(sdk, path)


def asked_as_we_do(sdk: Official, path: Any) -> None:
    """By its function for official models, for deployments or for versions, as the model's name tells."""
    asked, client = ours("replicate", path), sdk.client
    name = json.loads(path.read_text())["target"]["upstream_id"]
    waits = {"wait": 10} if "Prefer" in asked.headers else {}
    if name.startswith("deployments/"):
        named = {"deployment": name.removeprefix("deployments/")}
        sdk.asks_like(asked, client.deployments.predictions.create, **named, **waits)
    elif ":" in name:
        sdk.asks_like(asked, client.predictions.create, **waits)
    else:
        sdk.asks_like(asked, client.models.predictions.create, model=name, **waits)


@pytest.mark.proves(kind="replicate", mode="chat", by="official SDK")
@pytest.mark.proves(kind="replicate", mode="completion", by="official SDK")
@recorded("replicate", "chat_reply*.json", "completion_reply*.json")
def test_it_reads_the_text_that_we_read(sdk, path):
    expected = sdk.told(path)
    prediction = sdk.client.predictions.create(version="v", input={})

    assert (prediction.status, "".join(prediction.output)) == ("succeeded", expected["text"])
    assert prediction.metrics.get("output_token_count") == expected["usage"]["completion_tokens"]


@pytest.mark.proves(kind="replicate", mode="image", by="official SDK")
@recorded("replicate", "image_reply.json")
def test_it_reads_the_pictures_that_we_read(sdk, path):
    expected = sdk.told(path)
    prediction = sdk.client.predictions.create(version="v", input={})

    assert prediction.output == expected["pictures"]


NAME = "meta/meta-llama-3-70b-instruct"
STARTED = {
    "id": "gm3qorzdhgbfurvjtvhg6dckhu",
    "model": NAME,
    "version": "hidden",
    "status": "starting",
    "input": {},
    "output": None,
    "logs": "",
    "error": None,
    "metrics": None,
    "created_at": None,
    "started_at": None,
    "completed_at": None,
    "urls": {"stream": "https://stream.replicate.com/v1/files/abc"},
}
CREATED = Answer(201, {}, json.dumps(STARTED).encode())


@pytest.fixture
def prediction(sdk):
    """One that its client has begun."""
    sdk.tell(STARTED)
    return sdk.client.models.predictions.create(model=NAME, input={}, stream=True)


@pytest.mark.proves(kind="replicate", mode="chat", by="official SDK")
def test_it_opens_and_reads_the_stream_as_we_do(sdk, prediction):
    provider = make("replicate")
    steps = provider.opening(Call(Mode.CHAT, Target(NAME), {"messages": HELLO}, stream=True))
    steps.send(None)
    steps.send(Answer(404, {}, b"{}"))  # what the model takes is not told
    with pytest.raises(StopIteration) as opened:
        steps.send(CREATED)

    expected = sdk.told(files("replicate", "chat_stream.sse")[0])
    events = list(prediction.stream())
    sdk.asked_like(provider.auth.sign(opened.value.value), None)
    assert "".join(event.data for event in events if event.event.value == "output") == expected["text"]


@pytest.mark.proves(kind="replicate", mode="chat", by="official SDK")
def test_it_asks_again_and_cancels_as_we_do(sdk, prediction):
    provider, call = make("replicate"), Call(Mode.CHAT, Target("0" * 64), {"messages": HELLO})
    steps = provider.steps(call)
    steps.send(None)
    steps.send(CREATED)
    asked = steps.send(None)  # the pause is over

    prediction.reload()
    sdk.asked_like(provider.auth.sign(asked), None)
    prediction.cancel()
    sdk.asked_like(provider.auth.sign(call.on_leave), None)
