"""Groq's own client beside our adapter: it makes the same requests and reads the same answers."""

import json

import pytest

from connections.providers.conformance.streams import assembled
from tests.providers.conftest import files
from tests.providers.official import ASKED, Official, counted, counts_of, key_of, known, ours, recorded, said, words_of


@pytest.fixture
def sdk():
    import groq
    import httpx

    sdk = Official(httpx, groq.BadRequestError)
    sdk.client = groq.Groq(
        api_key=key_of("groq"), http_client=sdk.connected(), max_retries=0, _strict_response_validation=True
    )
    return sdk


@pytest.mark.proves(kind="groq", mode="chat", by="official SDK")
@recorded("groq", "chat_request*.json")
def test_it_asks_for_a_chat_as_we_do(sdk, path):
    asked = {"stream_options": {"include_usage": True}}  # only its types for chunks speak of that
    sdk.asks_like(ours("groq", path), sdk.client.chat.completions.create, beyond=asked)


@pytest.mark.proves(kind="groq", mode="chat", by="official SDK")
def test_it_knows_all_that_we_say_in_a_chat():
    from groq.types.chat.completion_create_params import CompletionCreateParams

    body = json.loads(ours("groq", files("groq", "chat_request.json")[0]).body)
    assert known(CompletionCreateParams, body) == {name: body[name] for name in body if name != "stream_options"}


@pytest.mark.proves(kind="groq", mode="chat", by="official SDK")
@recorded("groq", "chat_reply*.json")
def test_it_reads_the_chat_that_we_read(sdk, path):
    expected = sdk.told(path)
    reply = sdk.client.chat.completions.create(**ASKED)

    assert said(reply.choices[0].message) == words_of(expected)
    assert counted(reply.usage) == counts_of(expected)
    assert reply.usage.prompt_tokens_details.cached_tokens == expected["usage"]["cached_tokens"]
    assert reply.usage.completion_tokens_details.reasoning_tokens == expected["usage"]["reasoning_tokens"]


@pytest.mark.proves(kind="groq", mode="chat", by="official SDK")
@recorded("groq", "chat_stream*.sse")
def test_it_reads_the_stream_that_we_read(sdk, path):
    expected = sdk.told(path)
    chunks = list(sdk.client.chat.completions.create(**ASKED, stream=True))

    assert assembled([chunk.to_dict() for chunk in chunks]) == words_of(expected)
    assert counted(chunks[-1].x_groq.usage) == counts_of(expected)


@pytest.mark.proves(kind="groq", mode="embedding", by="official SDK")
def test_it_embeds_as_we_do(sdk):
    sdk.asks_like(ours("groq", files("groq", "embedding_request.json")[0]), sdk.client.embeddings.create)

    expected = sdk.told(files("groq", "embedding_reply.json")[0])
    reply = sdk.client.embeddings.create(model="a-model", input=["One", "Two"])
    assert [item.embedding for item in reply.data] == expected["vectors"]
    assert reply.usage.prompt_tokens == expected["usage"]["prompt_tokens"]
