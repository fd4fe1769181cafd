"""Groq's own place for the usage of a stream."""

import json

import pytest

from connections.providers.calls import Frame
from tests.providers.conftest import a_call, make

TOLD = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}


def chunks(*frames):
    provider = make("groq")
    events = provider.events(a_call(provider))
    found = [chunk for frame in frames for chunk in events.feed(Frame("", json.dumps(frame).encode()))]
    return [json.loads(chunk) for chunk in [*found, *events.end()]]


def finished(**extra):
    return {"model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}], **extra}


@pytest.mark.parametrize(
    "frames",
    [
        [finished(x_groq={"id": "req_1", "usage": TOLD})],
        [finished(x_groq={"id": "req_1", "usage": TOLD}), {"model": "m", "choices": [], "usage": TOLD}],
        [finished(), {"model": "m", "choices": [], "usage": TOLD, "x_groq": {"id": "req_1", "usage": TOLD}}],
    ],
    ids=["its own place", "both places", "both in one chunk"],
)
def test_the_usage_of_a_stream_is_told_once(frames):
    told = [chunk["usage"] for chunk in chunks(*frames) if chunk.get("usage")]

    assert [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in told] == [(21, 9)]


def test_speakers_without_names_are_left_as_they_are():
    provider = make("groq")
    call = a_call(provider, messages=[{"role": "user", "content": 'It has a "name".'}])

    body = json.loads(provider.request(call).body)

    assert body["messages"] == [{"role": "user", "content": 'It has a "name".'}]
    assert call.adjusted == []
