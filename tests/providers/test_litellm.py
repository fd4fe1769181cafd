"""What a LiteLLM proxy tells of its models, and to whom."""

import json

import pytest

from connections.providers.calls import Answer, Mode
from tests.providers.conftest import a_call, make

LISTED = Answer(200, {}, b'{"data": [{"id": "gpt-4o"}]}')
ROWS = [
    {
        "model_name": "gpt-4o",
        "litellm_params": {"model": "openai/gpt-4o"},
        "model_info": {
            "mode": "chat",
            "max_input_tokens": 128000,
            "max_output_tokens": 16384,
            "input_cost_per_token": 2.5e-06,
            "supports_function_calling": True,
            "supports_vision": True,
            "supports_reasoning": None,
        },
    },
    {"model_name": "gpt-4o", "model_info": {"mode": "chat", "max_tokens": 128000}},
    {"model_name": "embed", "model_info": {"mode": "embedding", "max_tokens": 8191}},
    {"model_name": "draw", "model_info": {"mode": "image_generation"}},
    {"model_name": "whisper", "model_info": {"mode": "audio_transcription"}},
    {"model_name": "plain", "model_info": {}},
]


def listed(answer):
    steps = make("litellm").listing(LISTED)
    assert next(steps).url == "http://litellm.internal:4000/v1/model/info"
    with pytest.raises(StopIteration) as done:
        steps.send(answer)
    return done.value.value


def test_the_proxy_tells_what_its_models_can():
    found = {info.id: info for info in listed(Answer(200, {}, json.dumps({"data": ROWS}).encode()))}

    assert {name: info.mode for name, info in found.items()} == {
        "gpt-4o": Mode.CHAT,
        "embed": Mode.EMBEDDING,
        "draw": Mode.IMAGE,
        "plain": Mode.CHAT,
    }
    assert found["embed"].context == 8191


def test_the_limits_and_abilities_of_a_model_are_told():
    [info] = listed(Answer(200, {}, json.dumps({"data": ROWS[:2]}).encode()))

    assert (info.context, info.max_output) == (128_000, 16_384)
    assert info.capabilities == {"tools", "vision"}


@pytest.mark.parametrize(
    "answer", [Answer(403, {}, b"{}"), Answer(200, {}, b"<html>"), Answer(200, {}, b'{"data": 7}')]
)
def test_a_key_that_may_not_know_gets_the_plain_list(answer):
    assert [info.id for info in listed(answer)] == ["gpt-4o"]


def test_the_check_costs_nothing():
    """`/health` would call every model for money."""
    assert make("litellm").check().url == "http://litellm.internal:4000/v1/models"


def test_a_call_without_an_id_has_no_header_for_it():
    call = a_call(make("litellm"))
    call.request_id = ""

    assert "x-litellm-call-id" not in make("litellm").request(call).headers
