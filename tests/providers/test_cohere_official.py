"""Cohere's own clients for both versions of its API beside our adapter: the same requests, the same answers."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.providers.conftest import files
from tests.providers.official import ASKED, Official, calls_of, counts_of, key_of, ours, recorded, text_of

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute:DeprecationWarning")  # of its own making


@pytest.fixture
def sdk():
    import cohere
    import httpx

    sdk = Official(httpx, cohere.BadRequestError)
    given = {"api_key": key_of("cohere"), "client_name": "llm-mesh", "httpx_client": sdk.connected()}
    sdk.client = SimpleNamespace(first=cohere.Client(**given), second=cohere.ClientV2(**given))
    return sdk


@pytest.mark.proves(kind="cohere", mode="chat", by="official SDK")
@recorded("cohere", "chat_request*.json")
def test_it_asks_for_a_chat_as_we_do(sdk, path):
    asked = ours("cohere", path)
    client = sdk.client.second if "/v2/" in asked.url else sdk.client.first
    sdk.asks_like(asked, either(client.chat, client.chat_stream))


@pytest.mark.proves(kind="cohere", mode="completion", by="official SDK")
@recorded("cohere", "completion_request*.json")
def test_it_completes_as_we_do(sdk, path):
    sdk.asks_like(ours("cohere", path), either(sdk.client.first.generate, sdk.client.first.generate_stream))


def either(whole: Any, streamed: Any) -> Any:
    """One function for what this client has two for; its streams begin once they are read."""
    return lambda stream=False, **body: list(streamed(**body)) if stream else whole(**body)


@pytest.mark.proves(kind="cohere", mode="embedding", by="official SDK")
def test_it_embeds_as_we_do(sdk):
    sdk.asks_like(ours("cohere", files("cohere", "embedding_request.json")[0]), sdk.client.second.embed)

    expected = sdk.told(files("cohere", "embedding_reply.json")[0])
    asked = {"input_type": "search_query", "embedding_types": ["float"]}
    reply = sdk.client.second.embed(model="a-model", texts=["A fish.", "A bird."], **asked)
    assert reply.embeddings.float_ == expected["vectors"]
    assert reply.meta.billed_units.input_tokens == expected["usage"]["billed_prompt_tokens"]


@pytest.mark.proves(kind="cohere", mode="rerank", by="official SDK")
def test_it_ranks_as_we_do(sdk):
    sdk.asks_like(ours("cohere", files("cohere", "rerank_request.json")[0]), sdk.client.second.rerank)

    expected = sdk.told(files("cohere", "rerank_reply.json")[0])
    reply = sdk.client.second.rerank(model="a-model", query="fish", documents=["A bird.", "A fish."])
    assert sorted([one.index, one.relevance_score] for one in reply.results) == expected["ranking"]
    assert reply.meta.billed_units.search_units == expected["usage"]["search_units"]


@pytest.mark.proves(kind="cohere", mode="chat", by="official SDK")
@recorded("cohere", "chat_reply.json", "chat_reply.text.json")
def test_it_reads_the_chat_that_we_read(sdk, path):
    expected = sdk.told(path)
    reply = sdk.client.second.chat(**ASKED)

    assert text_of(reply.message.content) == (expected["text"] or "")
    told = [(one["id"], one["name"], one["arguments"]) for one in expected["tool_calls"]]
    assert [(*call[:2], call[2] or "{}") for call in calls_of(reply.message)] == told
    assert_counts(reply.usage, expected)
    assert reply.usage.cached_tokens == expected["usage"]["cached_tokens"]


@pytest.mark.proves(kind="cohere", mode="chat", by="official SDK")
@recorded("cohere", "chat_stream.sse", "chat_stream.tools.sse")
def test_it_reads_the_stream_that_we_read(sdk, path):
    expected = sdk.told(path)
    events = list(sdk.client.second.chat_stream(**ASKED))

    contents = [event.delta.message.content for event in events if event.type == "content-delta"]
    assert "".join(content.text or "" for content in contents) == expected["text"]
    assert calls_in(events) == expected["tool_calls"]
    assert_counts(events[-1].delta.usage, expected)


def calls_in(events: Any) -> list[dict[str, str]]:
    """Each begins by its name; a call without arguments has none to bring."""
    arguments: dict[int, str] = {}
    begun = [event for event in events if event.type == "tool-call-start"]
    for event in events:
        if event.type in {"tool-call-start", "tool-call-delta"}:
            told = event.delta.message.tool_calls.function.arguments
            arguments[event.index] = arguments.get(event.index, "") + told
    calls = [(event.index, event.delta.message.tool_calls) for event in begun]
    return [{"id": call.id, "name": call.function.name, "arguments": arguments[index] or "{}"} for index, call in calls]


@pytest.mark.proves(kind="cohere", mode="chat", by="official SDK")
def test_it_reads_the_first_version_as_we_do(sdk):
    expected = sdk.told(files("cohere", "chat_reply.first.json")[0])
    reply = sdk.client.first.chat(message="Hello")
    assert (reply.text, reply.finish_reason) == (expected["text"], "COMPLETE")
    assert_counts(reply.meta, expected)

    expected = sdk.told(files("cohere", "chat_stream.first.ndjson")[0])
    events = list(sdk.client.first.chat_stream(message="Hello"))
    assert "".join(event.text for event in events if event.event_type == "text-generation") == expected["text"]
    assert events[-1].finish_reason == "MAX_TOKENS"
    assert_counts(events[-1].response.meta, expected)


@pytest.mark.proves(kind="cohere", mode="completion", by="official SDK")
def test_it_reads_the_completions_that_we_read(sdk):
    expected = sdk.told(files("cohere", "completion_reply.json")[0])
    reply = sdk.client.first.generate(prompt="Hello")
    assert reply.generations[0].text == expected["text"]
    assert reply.meta.billed_units.output_tokens == expected["usage"]["completion_tokens"]

    expected = sdk.told(files("cohere", "completion_stream.ndjson")[0])
    events = list(sdk.client.first.generate_stream(prompt="Hello"))
    assert "".join(event.text for event in events if event.event_type == "text-generation") == expected["text"]
    assert events[-1].response.generations[0].text == expected["text"]


def assert_counts(told: Any, expected: dict[str, Any]) -> None:
    assert (told.tokens.input_tokens, told.tokens.output_tokens) == counts_of(expected)
    assert told.billed_units.input_tokens == expected["usage"]["billed_prompt_tokens"]
