"""vLLM of two generations: how structured output is asked for, and what is counted in streams."""

import json

import pytest

from connections.providers.calls import Call, Mode, Target
from tests.providers.conftest import a_call, make


def sent(provider, stream=False, **body):
    call = a_call(provider, Mode.CHAT, **body)
    call.stream = stream
    return json.loads(provider.request(call).body), list(map(str, call.adjusted))


@pytest.mark.parametrize(
    ("version", "given", "found", "adjusted"),
    [
        ("new", {"structured_outputs": {"regex": "a+"}}, {"structured_outputs": {"regex": "a+"}}, []),
        (
            "new",
            {"guided_json": {"type": "object"}, "guided_whitespace_pattern": " "},
            {"structured_outputs": {"json": {"type": "object"}}},
            ["guided_json renamed to structured_outputs.json", "guided_whitespace_pattern dropped"],
        ),
        ("old", {"guided_choice": ["a", "b"]}, {"guided_choice": ["a", "b"]}, []),
        (
            "old",
            {"structured_outputs": {"grammar": "root ::= x", "structural_tag": "t"}},
            {"guided_grammar": "root ::= x"},
            [
                "structured_outputs.grammar renamed to guided_grammar",
                "structured_outputs.structural_tag dropped",
            ],
        ),
    ],
)
def test_structured_output_is_asked_for_as_the_server_knows_it(version, given, found, adjusted):
    body, changes = sent(make("vllm", version=version), **given)

    assert body == {"model": "Qwen/Qwen3-8B", "messages": [{"role": "user", "content": "Hello"}], **found}
    assert changes == adjusted


def test_plain_sampling_leaves_nothing_to_the_models_files():
    body, changes = sent(make("vllm", sampling="plain"), temperature=0.5)

    assert (body["temperature"], body["top_p"]) == (0.5, 1)
    assert changes == ["top_p set to 1"]


def test_usage_may_come_with_every_chunk():
    body, _ = sent(make("vllm", continuous_usage=True), stream=True)

    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_a_server_without_a_key_gets_none():
    provider = make("vllm", api_key="")

    assert "Authorization" not in provider.auth.sign(provider.check()).headers


def test_embeddings_are_left_as_they_are():
    call = Call(Mode.EMBEDDING, Target("bge", Mode.EMBEDDING), {"input": ["One"]})

    assert json.loads(make("vllm", sampling="plain").request(call).body) == {"model": "bge", "input": ["One"]}
