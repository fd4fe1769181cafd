"""Mistral's own client beside our adapter: it makes the same requests and reads the same answers."""

import json
from typing import Any

import pytest

from tests.providers.conftest import files
from tests.providers.official import ASKED, Official, calls_of, counted, counts_of, key_of, ours, recorded, text_of


@pytest.fixture
def sdk():
    import httpx2
    from mistralai.client import Mistral
    from mistralai.client.errors import SDKError

    sdk = Official(httpx2, SDKError, without_defaults)
    sdk.client = Mistral(api_key=key_of("mistral"), client=sdk.connected())
    return sdk


SPELT_OUT = {"prefix": False, "index": 0, "stream": False}
"""What this client writes although nobody gave it: what Mistral takes for granted."""


def without_defaults(value: Any) -> Any:
    if isinstance(value, list):
        return [without_defaults(item) for item in value]
    if isinstance(value, dict):
        kept = {name for name in value if name not in SPELT_OUT or value[name] != SPELT_OUT[name]}
        return {name: without_defaults(value[name]) for name in kept}
    return value


@pytest.mark.proves(kind="mistral", mode="chat", by="official SDK")
@recorded("mistral", "chat_request*.json")
def test_it_asks_for_a_chat_as_we_do(sdk, path):
    def ask(stream=None, **body):
        return sdk.client.chat.stream(**body) if stream else sdk.client.chat.complete(**body)

    sdk.asks_like(ours("mistral", path), ask)


@pytest.mark.proves(kind="mistral", mode="chat", by="official SDK")
@recorded("mistral", "chat_reply*.json")
def test_it_reads_the_chat_that_we_read(sdk, path):
    expected = sdk.told(path)
    reply = sdk.client.chat.complete(**ASKED)

    message = reply.choices[0].message
    assert text_of(message.content) == expected["text"]
    assert calls_of(message) == [
        (one["id"], one["name"], json.loads(one["arguments"])) for one in expected["tool_calls"]
    ]
    assert counted(reply.usage) == counts_of(expected)


@pytest.mark.proves(kind="mistral", mode="chat", by="official SDK")
@recorded("mistral", "chat_stream*.sse")
def test_it_reads_the_stream_that_we_read(sdk, path):
    expected = sdk.told(path)
    with sdk.client.chat.stream(**ASKED) as stream:
        chunks = [event.data for event in stream]

    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(text_of(delta.content) for delta in deltas) == expected["text"]
    calls = [(one["id"], one["name"], one["arguments"]) for one in expected["tool_calls"]]
    assert [call for delta in deltas for call in calls_of(delta)] == calls
    assert counted(chunks[-1].usage) == counts_of(expected)


@pytest.mark.proves(kind="mistral", mode="embedding", by="official SDK")
@recorded("mistral", "embedding_request*.json")
def test_it_embeds_as_we_do(sdk, path):
    def ask(input, **body):
        return sdk.client.embeddings.create(inputs=input, **body)

    sdk.asks_like(ours("mistral", path), ask)


@pytest.mark.proves(kind="mistral", mode="embedding", by="official SDK")
def test_it_reads_the_vectors_that_we_read(sdk):
    expected = sdk.told(files("mistral", "embedding_reply.json")[0])
    reply = sdk.client.embeddings.create(model="a-model", inputs=["Hello"])

    assert [item.embedding for item in reply.data] == expected["vectors"]
    assert counted(reply.usage) == counts_of(expected)
