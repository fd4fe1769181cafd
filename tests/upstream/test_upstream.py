"""The judge itself: what it accepts, answers, refuses and records."""

import asyncio
import http.client
import json

import pytest

from tests.upstream.faults import Fault
from tests.upstream.wire import ABSENT, Bill

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "one two three"}]}
MESSAGE = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "one two three"}]}
VERSION = {"anthropic-version": "2023-06-01"}
CALLS = {
    "openai": ("/openai/v1/chat/completions", CHAT),
    "compatible": ("/compatible/v1/chat/completions", CHAT | {"top_k": 5}),
    "llamacpp": ("/llamacpp/v1/chat/completions", CHAT | {"cache_prompt": True}),
    "anthropic": ("/anthropic/v1/messages", MESSAGE),
}


def call(upstream, path, body=None, key=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=30)
    key = upstream.key if key is None else key
    method = "GET" if body is None else "POST"
    data = None if body is None else json.dumps(body)
    auth = {"authorization": f"Bearer {key}"} if key else {}
    connection.request(method, path, data, {"content-type": "application/json", **VERSION, **auth, **headers})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def ask(upstream, dialect, **fields):
    path, body = CALLS[dialect]
    return call(upstream, path, body | fields)


def events(content):
    return [json.loads(line[6:]) for line in content.decode().split("\n") if line.startswith("data: {")]


@pytest.mark.parametrize("dialect", CALLS)
def test_the_last_user_text_comes_back(upstream, dialect):
    status, content = ask(upstream, dialect)

    assert status == 200
    assert b"one two three" in content
    assert upstream.billed == {"call-1": Bill(prompt=3, completion=3)}


@pytest.mark.parametrize("dialect", CALLS)
def test_a_stream_comes_word_by_word(upstream, dialect):
    _, content = ask(upstream, dialect, stream=True)

    assert [word in content for word in (b'"one "', b'"two "', b'"three"')] == [True] * 3
    assert b"message_stop" in content or content.rstrip().endswith(b"data: [DONE]")
    assert upstream.billed["call-1"].completion == 3


@pytest.mark.parametrize("dialect", CALLS)
def test_a_wrong_type_is_refused(upstream, dialect):
    status, content = ask(upstream, dialect, temperature="warm")

    assert status == 400
    assert "temperature" in json.loads(content)["error"]["message"]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_an_unknown_field_is_refused(upstream, dialect):
    assert ask(upstream, dialect, whatever=1)[0] == 400


@pytest.mark.parametrize("dialect", CALLS)
def test_a_wrong_key_is_refused(upstream, dialect):
    path, body = CALLS[dialect]

    assert call(upstream, path, body, key="wrong")[0] == 401


def test_anthropic_needs_its_version_and_max_tokens(upstream):
    path, body = CALLS["anthropic"]

    assert call(upstream, path, body, **{"anthropic-version": ""})[0] == 400
    assert call(upstream, path, {"model": body["model"], "messages": body["messages"]})[0] == 400


def test_a_tool_is_called_with_arguments_that_fit(upstream):
    schema = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer"}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}

    _, content = ask(upstream, "openai", tools=[tool])

    [choice] = json.loads(content)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "Rome", "days": 1}


def test_a_json_schema_is_answered(upstream):
    schema = {"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"}}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "list", "schema": schema}}

    _, content = ask(upstream, "llamacpp", response_format=wanted)

    assert json.loads(json.loads(content)["choices"][0]["message"]["content"]) == {"names": ["text"]}


@pytest.mark.parametrize("dialect", ["openai", "compatible", "llamacpp"])
def test_embeddings_are_the_same_for_the_same_text(upstream, dialect):
    body = {"model": "text-embedding-3-small", "input": ["a", "b", "a"]}

    _, content = call(upstream, f"/{dialect}/v1/embeddings", body)

    first, second, third = (row["embedding"] for row in json.loads(content)["data"])
    assert first == third != second


def test_usage_counts_cached_and_reasoning_tokens(upstream):
    upstream.script(*[Fault.answer(cached=4, reasoning=5)] * 2)

    openai = json.loads(ask(upstream, "openai")[1])["usage"]
    anthropic = json.loads(ask(upstream, "anthropic")[1])["usage"]

    assert (openai["prompt_tokens"], openai["completion_tokens"]) == (7, 8)
    assert openai["prompt_tokens_details"]["cached_tokens"] == 4
    assert (anthropic["input_tokens"], anthropic["cache_read_input_tokens"]) == (3, 4)
    assert anthropic["output_tokens"] == 8


@pytest.mark.parametrize("dialect", CALLS)
def test_usage_may_be_absent_or_absurd(upstream, dialect):
    upstream.script(Fault.usage(ABSENT), Fault.tokens(-5, "many"))

    assert "usage" not in json.loads(ask(upstream, dialect)[1])
    assert -5 in json.loads(ask(upstream, dialect)[1])["usage"].values()


def test_a_script_is_used_up_and_then_the_default_answer_returns(upstream):
    upstream.script(Fault.status(429, retry_after="7"), Fault.html())

    assert ask(upstream, "openai")[0] == 429
    assert ask(upstream, "openai")[1].startswith(b"<!doctype")
    assert ask(upstream, "openai")[0] == 200
    assert [request.json["model"] for request in upstream.requests] == ["gpt-4o-mini"] * 3


@pytest.mark.parametrize("dialect", CALLS)
def test_a_stream_may_lack_its_end(upstream, dialect):
    upstream.script(Fault.no_done())

    _, content = ask(upstream, dialect, stream=True)

    assert content
    assert b"[DONE]" not in content and b"message_stop" not in content


@pytest.mark.parametrize("fault", [Fault.hang_up(), Fault.reset_after_head(), Fault.reset_mid_event()])
def test_a_connection_may_be_cut(upstream, fault):
    upstream.script(fault)

    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask(upstream, "openai", stream=True)


def test_a_client_that_leaves_is_noticed_and_charged_for_what_it_got(upstream):
    upstream.script(Fault.answer(chunks=100, delay=0.02))
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=30)
    path, body = CALLS["openai"]
    headers = {"content-type": "application/json", "authorization": f"Bearer {upstream.key}"}
    connection.request("POST", path, json.dumps(body | {"stream": True}), headers)
    answer = connection.getresponse()
    answer.readline()
    answer.close()
    connection.close()

    [request] = upstream.requests
    assert request.disconnected.wait(20)
    assert 0 < request.events_sent < 50
    assert upstream.billed["call-1"].completion <= request.events_sent


def test_a_split_stream_carries_the_same_bytes(upstream):
    upstream.script(Fault.split_everywhere())

    _, content = ask(upstream, "openai", stream=True)

    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events(content))
    assert text == "Größe 🙂 日本"


def test_a_refusing_port_refuses(upstream):
    host = upstream.refusing_url("openai").split("/")[2]

    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(host, timeout=2).connect()


async def test_it_answers_the_loop_that_asks(upstream):
    status, _ = await asyncio.to_thread(ask, upstream, "openai")

    assert status == 200
