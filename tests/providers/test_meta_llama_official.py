"""Meta's own client for its Llama API beside our adapter: the same requests, the same answers."""

import json
from typing import Any

import pytest

from tests.providers.conftest import files
from tests.providers.official import ASKED, Official, counts_of, key_of, known, ours, recorded, said, words_of


@pytest.fixture
def sdk():
    import httpx
    import llama_api_client

    sdk = Official(httpx, llama_api_client.BadRequestError)
    sdk.client = llama_api_client.LlamaAPIClient(
        api_key=key_of("meta_llama"), http_client=sdk.connected(), max_retries=0, _strict_response_validation=True
    )
    return sdk


@pytest.mark.proves(kind="meta_llama", mode="chat", by="official SDK")
@recorded("meta_llama", "chat_request*.json")
def test_it_asks_for_a_chat_as_we_do(sdk, path):
    sdk.asks_like(ours("meta_llama", path), sdk.client.chat.completions.create)


@pytest.mark.proves(kind="meta_llama", mode="chat", by="official SDK")
def test_it_knows_all_that_we_say_in_a_chat():
    from llama_api_client.types.chat.completion_create_params import CompletionCreateParams

    body = json.loads(ours("meta_llama", files("meta_llama", "chat_request.json")[0]).body)
    told = known(CompletionCreateParams, body)
    for message in body["messages"]:
        for call in message.get("tool_calls", ()):
            assert call.pop("type") == "function"  # its types leave it out
    assert told == body


@pytest.mark.proves(kind="meta_llama", mode="chat", by="official SDK")
@recorded("meta_llama", "chat_reply*.json")
def test_it_reads_the_chat_that_we_read(sdk, path):
    expected = sdk.told(path)
    reply = sdk.client.chat.completions.create(**ASKED)

    message = reply.completion_message
    message.content = message.content and message.content.text
    assert said(message) == words_of(expected)
    assert tokens_in(reply.metrics) == counts_of(expected)


@pytest.mark.proves(kind="meta_llama", mode="chat", by="official SDK")
@recorded("meta_llama", "chat_stream*.sse")
def test_it_reads_the_stream_that_we_read(sdk, path):
    expected = sdk.told(path)
    events = [chunk.event for chunk in sdk.client.chat.completions.create(**ASKED, stream=True)]

    deltas = [event.delta for event in events]
    functions = [delta.function for delta in deltas if delta.type == "tool_call"]
    calls = [
        {
            "id": delta.id,
            "name": delta.function.name,
            "arguments": "".join(function.arguments or "" for function in functions),
        }
        for delta in deltas
        if delta.type == "tool_call" and delta.id
    ]
    text = "".join(delta.text for delta in deltas if delta.type == "text")
    assert {"text": text, "tool_calls": calls} == words_of(expected)
    assert [event.stop_reason for event in events if event.stop_reason] == [expected["finish_reason"]]
    assert tokens_in(events[-1].metrics) == counts_of(expected)


def tokens_in(metrics: Any) -> tuple[int, int]:
    told = {one.metric: one.value for one in metrics}
    return told["num_prompt_tokens"], told["num_completion_tokens"]
