"""What we supply where a model lacks it, as plain translations: nothing is sent here."""

import json

import msgspec
import pytest

from connections.providers import emulation, wire
from connections.providers.calls import Call, Mode, Reply, Target, Usage
from connections.providers.compatible import OpenAICompatible
from connections.providers.contract import Abilities
from connections.providers.errors import RateLimited, RequestRefused

NARROW = Abilities(choices=2, inputs=3, prompts=2)


class Narrow(OpenAICompatible):
    """A system whose requests do little each."""

    def abilities(self, target):
        return NARROW


@pytest.fixture
def provider():
    return Narrow(Narrow.Settings(base_url="https://llm.test/v1", sign_in="none"))


def call(mode, model=None, **body):
    return Call(mode, Target("a-model", model or mode), body)


def raw(value):
    return msgspec.Raw(json.dumps(value).encode())


def told(asked):
    return list(map(str, asked.adjusted))


def bodies(provider, asked):
    return [request.body for request in emulation.requests(provider, asked)]


# --- another mode


def test_a_completion_of_a_chat_model_is_one_user_message(provider):
    asked = call(Mode.COMPLETION, Mode.CHAT, prompt=raw("Once"), max_tokens=5, echo=True, logprobs=2, seed=None)

    [request] = emulation.requests(provider, asked)

    assert request.mode is Mode.CHAT
    assert request.body == {"messages": [{"role": "user", "content": "Once"}], "max_tokens": 5}
    assert told(asked) == ["prompt sent as one user message", "echo dropped", "logprobs dropped"]


def test_a_chat_of_a_completion_model_is_its_familys_prompt(provider):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    asked = call(Mode.CHAT, Mode.COMPLETION, messages=raw(messages), max_completion_tokens=9, stop="END", tools=[{}])

    [request] = emulation.requests(provider, asked)

    assert request.mode is Mode.COMPLETION
    rendered = provider.prompt(asked)
    assert request.body["prompt"] == rendered.text
    assert request.body["max_tokens"] == 9
    assert request.body["stop"] == ["END", *rendered.stops]
    stops = f"stop extended by {json.dumps(rendered.stops)}"
    assert told(asked) == ["tools dropped", "messages sent as one prompt", stops]


def test_a_completion_model_is_not_shown_pictures(provider):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    asked = call(Mode.CHAT, Mode.COMPLETION, messages=[{"role": "user", "content": [part]}])

    with pytest.raises(RequestRefused, match="plain text only"):
        emulation.requests(provider, asked)


def test_answers_and_chunks_are_turned_both_ways():
    chat = {"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]}
    text = json.loads(emulation.reply_in(Mode.COMPLETION, Reply(wire.encode(chat), Usage())).body)
    again = json.loads(emulation.reply_in(Mode.CHAT, Reply(wire.encode(text), Usage())).body)
    chunk = json.loads(emulation.chunk_in(Mode.COMPLETION, b'{"choices": [{"index": 0, "delta": {"content": "H"}}]}'))

    assert (text["object"], text["choices"][0]["text"], "message" in text["choices"][0]) == (
        "text_completion",
        "Hi",
        False,
    )
    assert (again["object"], again["choices"][0]["message"]["content"]) == ("chat.completion", "Hi")
    assert (chunk["object"], chunk["choices"][0]["text"]) == ("text_completion", "H")


@pytest.mark.parametrize("message", [{"role": "assistant", "content": None, "tool_calls": []}, {}])
def test_a_chat_answer_without_text_is_an_empty_completion(message):
    chat = {"choices": [{"index": 0, "message": message}]}

    assert (
        json.loads(emulation.reply_in(Mode.COMPLETION, Reply(wire.encode(chat), Usage())).body)["choices"][0]["text"]
        == ""
    )


# --- several requests


def test_choices_are_split_by_what_one_request_gives(provider):
    asked = call(Mode.CHAT, messages=[], n=5)

    assert [body["n"] for body in bodies(provider, asked)] == [2, 2, None]
    assert told(asked) == ["n split into 3 requests"]


def test_prompts_go_together_as_far_as_they_can(provider):
    asked = call(Mode.COMPLETION, prompt=raw(["a", "b", "c"]))

    assert [body["prompt"] for body in bodies(provider, asked)] == [["a", "b"], ["c"]]
    assert told(asked) == ["prompt split into 2 requests"]


def test_each_prompt_is_a_conversation_of_its_own(provider):
    asked = call(Mode.COMPLETION, Mode.CHAT, prompt=["a", "b"], n=3)

    contents = [(body["messages"][0]["content"], body.get("n")) for body in bodies(provider, asked)]

    assert contents == [("a", 2), ("a", None), ("b", 2), ("b", None)]
    assert told(asked) == ["prompt split into 2 requests", "n split into 2 requests", "prompt sent as one user message"]


def test_texts_are_embedded_in_batches(provider):
    asked = call(Mode.EMBEDDING, input=raw(list("abcdefg")), encoding_format="float")

    assert [body["input"] for body in bodies(provider, asked)] == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert {body["encoding_format"] for body in bodies(provider, asked)} == {"float"}


@pytest.mark.parametrize("given", ["a, b, c, d, e", ["a", "b", "c"], ["a,b,c", "d,e,f"], [1, 2, 3, 4, 5]])
def test_what_fits_is_left_as_it_is(provider, given):
    asked = call(Mode.EMBEDDING, input=raw(given))

    assert bodies(provider, asked) == [asked.body]
    assert told(asked) == []


def test_lists_of_tokens_are_texts_too(provider):
    asked = call(Mode.EMBEDDING, input=raw([[1, 2], [3], [4], [5]]))

    assert [body["input"] for body in bodies(provider, asked)] == [[[1, 2], [3], [4]], [[5]]]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (call(Mode.COMPLETION, Mode.CHAT, prompt=["x"] * 128, n=6), "would take 384 requests"),
        (call(Mode.EMBEDDING, input=["x"] * 2048), "send at most 768"),
    ],
)
def test_a_call_that_would_become_very_many_is_refused(provider, asked, sentence):
    with pytest.raises(RequestRefused, match=sentence):
        emulation.requests(provider, asked)


def test_asking_whether_it_splits_reports_nothing(provider):
    asked = call(Mode.CHAT, messages=[], n=3)

    assert emulation.splits(provider, asked)
    assert told(asked) == []


# --- one answer of many


def reply(name, items, usage=None, **more):
    return Reply(wire.encode({name: items, **more}), usage or Usage(2, 3), "stop", "m-1")


def test_merged_choices_are_numbered_and_their_usage_is_summed():
    parts = [
        reply("choices", [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}], Usage(2, 3, cached_tokens=1), id="x"),
        reply("choices", [{"index": 0, "text": "c"}], Usage(2, 4)),
    ]

    whole = emulation.merged(call(Mode.COMPLETION, prompt="p"), parts)

    answer = json.loads(whole.body)
    assert [(one["index"], one["text"]) for one in answer["choices"]] == [(0, "a"), (1, "b"), (2, "c")]
    assert (answer["id"], answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == ("x", 4, 7)
    assert (whole.usage.cached_tokens, whole.finish_reason, whole.model) == (1, "stop", "m-1")


def test_usage_that_one_part_did_not_tell_is_not_told():
    parts = [reply("data", [{"index": 0}], usage={"prompt_tokens": 2}), reply("data", [{"index": 0}], Usage())]
    parts[0] = Reply(parts[0].body, Usage(2, 0))

    whole = emulation.merged(call(Mode.EMBEDDING, input=["a", "b"]), parts)

    assert "usage" not in json.loads(whole.body)
    assert whole.usage.prompt_tokens is None


def test_merged_pictures_tell_their_usage_as_pictures_do():
    parts = [reply("data", [{"b64_json": "AA=="}], Usage(5, 100, images=1), created=1) for _ in range(2)]

    whole = emulation.merged(call(Mode.IMAGE, prompt="p", n=2), parts)

    answer = json.loads(whole.body)
    assert answer["usage"] == {"input_tokens": 10, "output_tokens": 200, "total_tokens": 210}
    assert (len(answer["data"]), whole.usage.images) == (2, 2)


def test_parts_that_failed_are_reported_and_what_they_cost_is_counted():
    asked = call(Mode.CHAT, messages=[], n=2)
    failure = RateLimited("Too many at once.", usage=Usage(2, 0))

    whole = emulation.merged(asked, [reply("choices", [{"index": 0}])], [failure])

    assert told(asked) == ["n reduced to 1: Too many at once."]
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (4, 3)


@pytest.mark.parametrize(
    ("asked", "fewer"),
    [
        (call(Mode.CHAT, messages=[], n=2), True),
        (call(Mode.IMAGE, prompt="p", n=2), True),
        (call(Mode.COMPLETION, Mode.CHAT, prompt="p", n=2), True),
        (call(Mode.COMPLETION, Mode.CHAT, prompt=["p", "q"], n=2), False),
        (call(Mode.EMBEDDING, input=["a", "b"]), False),
    ],
)
def test_only_further_choices_may_be_missing(asked, fewer):
    assert emulation.may_be_fewer(asked) is fewer


# --- a whole answer as a stream


def test_a_whole_chat_is_streamed_with_its_tool_calls_and_usage():
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    whole = reply("choices", [choice], id="x", created=1, model="m")

    begun, over, usage = map(json.loads, emulation.chunks_of(call(Mode.CHAT, messages=[]), whole))

    assert begun["object"] == "chat.completion.chunk"
    assert begun["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **calls[0]}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in (begun, over)] == [None, "tool_calls"]
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 3)


def test_usage_that_nobody_told_is_not_streamed_as_zero():
    whole = Reply(wire.encode({"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}), Usage())

    begun, over = map(json.loads, emulation.chunks_of(call(Mode.COMPLETION, prompt="p"), whole))

    assert (begun["choices"][0]["text"], over["choices"][0]) == ("a", {"index": 0, "finish_reason": "stop", "text": ""})
