"""Anthropic's own client beside our adapter: it makes the same requests and reads the same answers.

It speaks the newer version of the API, which our connections may be set to. The old route for completions it has no
more.
"""

import json
from typing import Any

import pytest

from tests.providers.official import ASKED, Official, counts_of, key_of, known, ours, recorded


@pytest.fixture
def sdk():
    import anthropic
    import httpx2

    sdk = Official(httpx2, anthropic.BadRequestError)
    sdk.client = anthropic.Anthropic(
        api_key=key_of("anthropic"), http_client=sdk.connected(), max_retries=0, _strict_response_validation=True
    )
    return sdk


def message_of_ours(path: Any) -> Any:
    """As the version of the API that the client speaks wants it, with the key in the header that it sends it in."""
    made = ours("anthropic", path, version="2026-10-21", beta="")
    made.headers["Authorization"] = f"Bearer {made.headers.pop('x-api-key')}"
    return made


@pytest.mark.proves(kind="anthropic", mode="chat", by="official SDK")
@recorded("anthropic", "chat_request*.json")
def test_it_asks_for_a_message_as_we_do(sdk, path):
    sdk.asks_like(message_of_ours(path), sdk.client.messages.create)


@pytest.mark.proves(kind="anthropic", mode="chat", by="official SDK")
@recorded("anthropic", "chat_request*.json")
def test_it_knows_all_that_we_say(path):
    from anthropic.types.message_create_params import MessageCreateParams

    body = json.loads(message_of_ours(path).body)
    assert known(MessageCreateParams, body) == body


@pytest.mark.proves(kind="anthropic", mode="chat", by="official SDK")
@recorded("anthropic", "chat_reply*.json")
def test_it_reads_the_message_that_we_read(sdk, path):
    expected = sdk.told(path)
    assert_message(sdk.client.messages.create(**ASKED, max_tokens=9), expected)


@pytest.mark.proves(kind="anthropic", mode="chat", by="official SDK")
@recorded("anthropic", "chat_stream*.sse")
def test_it_reads_the_stream_that_we_read(sdk, path):
    expected = sdk.told(path)
    with sdk.client.messages.stream(**ASKED, max_tokens=9) as stream:
        assert_message(stream.get_final_message(), expected)


def assert_message(message: Any, expected: dict[str, Any]) -> None:
    blocks = message.content
    text = "".join(block.text for block in blocks if block.type == "text")
    calls = [(block.id, block.name, block.input) for block in blocks if block.type == "tool_use"]
    assert text == expected["text"]
    assert calls == [(one["id"], one["name"], json.loads(one["arguments"])) for one in expected["tool_calls"]]

    told, usage = message.usage, expected["usage"]
    cached, written = told.cache_read_input_tokens, told.cache_creation_input_tokens
    assert (cached, written) == (usage["cached_tokens"], usage["cache_write_tokens"])
    assert (told.input_tokens + cached + written, told.output_tokens) == counts_of(expected)
    assert told.output_tokens_details.thinking_tokens == usage["reasoning_tokens"]
