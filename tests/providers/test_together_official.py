"""Together's own client beside our adapter: it makes the same requests and reads the same answers."""

import json

import pytest

from connections.providers.conformance.streams import assembled
from tests.providers.conftest import files
from tests.providers.official import ASKED, Official, counted, counts_of, key_of, known, ours, recorded, said, words_of


@pytest.fixture
def sdk():
    import httpx
    import together

    sdk = Official(httpx, together.BadRequestError)
    sdk.client = together.Together(
        api_key=key_of("together"), http_client=sdk.connected(), max_retries=0, _strict_response_validation=True
    )
    return sdk


@pytest.mark.proves(kind="together", mode="chat", by="official SDK")
@recorded("together", "chat_request*.json")
def test_it_asks_for_a_chat_as_we_do(sdk, path):
    sdk.asks_like(ours("together", path), sdk.client.chat.completions.create)


@pytest.mark.proves(kind="together", mode="chat", by="official SDK")
@recorded("together", "chat_request*.json")
def test_it_knows_all_that_we_say_in_a_chat(path):
    from together.types.chat.completion_create_params import CompletionCreateParams

    body = json.loads(ours("together", path).body)
    for message in body["messages"]:
        for place, call in enumerate(message.get("tool_calls", ())):
            call["index"] = place  # its types want what OpenAI's clients never send
    assert known(CompletionCreateParams, body) == body


@pytest.mark.proves(kind="together", mode="chat", by="official SDK")
@recorded("together", "chat_reply*.json")
def test_it_reads_the_chat_that_we_read(sdk, path):
    expected = sdk.told(path)
    reply = sdk.client.chat.completions.create(**ASKED)

    assert said(reply.choices[0].message) == words_of(expected)
    assert counted(reply.usage) == counts_of(expected)


@pytest.mark.proves(kind="together", mode="chat", by="official SDK")
@recorded("together", "chat_stream*.sse")
def test_it_reads_the_stream_that_we_read(sdk, path):
    expected = sdk.told(path)
    chunks = list(sdk.client.chat.completions.create(**ASKED, stream=True))

    assert assembled([chunk.to_dict() for chunk in chunks]) == words_of(expected)
    assert counted(chunks[-1].usage) == counts_of(expected)


@pytest.mark.proves(kind="together", mode="completion", by="official SDK")
def test_it_completes_as_we_do(sdk):
    asked = ours("together", files("together", "completion_request.json")[0])
    sdk.asks_like(asked, sdk.client.completions.create)

    expected = sdk.told(files("together", "completion_reply.json")[0])
    reply = sdk.client.completions.create(model="a-model", prompt="Hello")
    assert (reply.choices[0].text, counted(reply.usage)) == (expected["text"], counts_of(expected))


@pytest.mark.proves(kind="together", mode="embedding", by="official SDK")
def test_it_embeds_as_we_do(sdk):
    asked = ours("together", files("together", "embedding_request.json")[0])
    sdk.asks_like(asked, sdk.client.embeddings.create)

    expected = sdk.told(files("together", "embedding_reply.json")[0])
    reply = sdk.client.embeddings.create(model="a-model", input=["One", "Two"])
    assert [item.embedding for item in reply.data] == expected["vectors"]


@pytest.mark.proves(kind="together", mode="image", by="official SDK")
@recorded("together", "image_request*.json")
def test_it_asks_for_pictures_as_we_do(sdk, path):
    sdk.asks_like(ours("together", path), sdk.client.images.generate)


@pytest.mark.proves(kind="together", mode="image", by="official SDK")
def test_it_reads_the_pictures_that_we_read(sdk):
    expected = sdk.told(files("together", "image_reply.json")[0])
    reply = sdk.client.images.generate(model="a-model", prompt="A fish")

    assert [getattr(item, item.type) for item in reply.data] == expected["pictures"]


@pytest.mark.proves(kind="together", mode="rerank", by="official SDK")
def test_it_ranks_as_we_do(sdk):
    asked = ours("together", files("together", "rerank_request.json")[0])
    sdk.asks_like(asked, sdk.client.rerank.create)

    expected = sdk.told(files("together", "rerank_reply.json")[0])
    reply = sdk.client.rerank.create(model="a-model", query="fish", documents=["A fish.", "A bird."])
    assert sorted([one.index, one.relevance_score] for one in reply.results) == expected["ranking"]
    assert reply.usage.prompt_tokens == expected["usage"]["prompt_tokens"]
