"""Mistral refuses every field that it does not know, and has an opinion on the order of messages."""

import json

import pytest

from connections.providers.calls import Answer, Call, Mode, Target
from connections.providers.errors import RequestRefused
from connections.providers.mistral import short_id
from connections.providers.parameters import KNOWN
from tests.providers.conftest import make
from tests.providers.test_contract import TOOLS, sample

FIELDS = {
    Mode.CHAT: {
        *("model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "n"),
        *("presence_penalty", "frequency_penalty", "response_format", "tools", "tool_choice", "parallel_tool_calls"),
        *("prediction", "prompt_mode", "reasoning_effort", "safe_prompt", "guardrails", "metadata"),
        "prompt_cache_key",
    },
    Mode.EMBEDDING: {"model", "input", "output_dimension", "output_dtype", "encoding_format"},
}
MESSAGE_FIELDS = {"role", "content", "tool_calls", "tool_call_id", "name", "prefix"}


def body_of(target, mode=Mode.CHAT, **body):
    call = Call(mode, Target(target, mode), body)
    return json.loads(make("mistral").request(call).body), call


@pytest.mark.parametrize(
    "model", ["mistral-medium-latest", "mistral-large-latest", "open-mistral-7b", "my-tuned-model"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_no_field_is_sent_that_mistral_does_not_know(model, stream):
    given = {name: sample(Mode.CHAT, name) for name in KNOWN[Mode.CHAT]}
    asked = {"role": "user", "content": "Hi", "name": "alice"}
    said = {"role": "assistant", "content": "Hm", "refusal": None, "reasoning_content": "x", "annotations": []}
    messages = [asked, said, asked]
    call = Call(Mode.CHAT, Target(model), {"messages": messages, **given}, stream=stream)

    body = json.loads(make("mistral").request(call).body)

    assert body.keys() <= FIELDS[Mode.CHAT]
    assert all(message.keys() <= MESSAGE_FIELDS for message in body["messages"])


@pytest.mark.parametrize("model", ["mistral-embed", "codestral-embed"])
def test_no_field_is_sent_with_texts_that_mistral_does_not_know(model):
    given = {name: sample(Mode.EMBEDDING, name) for name in KNOWN[Mode.EMBEDDING]}

    body, _ = body_of(model, Mode.EMBEDDING, input="Hi", **given)

    assert body.keys() <= FIELDS[Mode.EMBEDDING]
    assert ("output_dimension" in body) is (model == "codestral-embed")


@pytest.mark.parametrize("name", ["", "call_1", "toolu_01A09q90qw90lq917835lq9", "a" * 5000, "ünïcode", "abc 12345"])
def test_ids_of_others_become_nine_letters_that_stay_the_same(name):
    assert short_id(name).isascii() and short_id(name).isalnum() and len(short_id(name)) == 9
    assert short_id(name) == short_id(name) == short_id(short_id(name))


def test_ids_stay_apart():
    assert len({short_id(f"call_{number}") for number in range(2000)}) == 2000


def test_a_choice_without_tools_is_left_out():
    body, call = body_of(
        "mistral-small-latest", messages=[{"role": "user", "content": "Hi"}], tools=[], tool_choice="auto",
        parallel_tool_calls=True,
    )  # fmt: skip

    assert body.keys() == {"model", "messages"}
    assert list(map(str, call.adjusted)) == ["tool_choice dropped", "parallel_tool_calls dropped"]


def test_a_tool_of_another_type_is_refused():
    with pytest.raises(RequestRefused, match="only tools of type function"):
        body_of("mistral-small-latest", messages=[{"role": "user", "content": "Hi"}], tools=[{"type": "web_search"}])


@pytest.mark.parametrize(("wished", "sent"), [("none", "none"), ("minimal", "high"), ("high", "high"), ("max", "high")])
def test_models_reason_or_do_not(wished, sent):
    body, call = body_of(
        "mistral-small-latest", messages=[{"role": "user", "content": "Hi"}], reasoning_effort=wished, tools=TOOLS
    )

    assert body["reasoning_effort"] == sent
    assert bool(call.adjusted) is (wished != sent)


def test_the_admin_can_say_that_a_model_reasons():
    target = Target("my-tuned-model", capabilities=frozenset({"reasoning"}))

    assert make("mistral").parameters_for(target).takes("reasoning_effort")
    assert not make("mistral").parameters_for(Target("my-tuned-model")).takes("reasoning_effort")


def test_a_failed_answer_ends_with_an_error():
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "error"}]}
    call = Call(Mode.CHAT, Target("mistral-small-latest"), {"messages": []})

    reply = make("mistral").reply(call, Answer(200, {}, json.dumps(answer).encode()))

    assert reply.finish_reason == "error"
