"""What is particular about `/generate`: stop sequences that stay in the text, in streams too."""

import json

import pytest

from connections.providers import errors
from connections.providers.calls import Answer, Call, Frame, Mode, Target
from tests.providers.conftest import make


def a_completion(**body):
    return Call(Mode.COMPLETION, Target("zephyr", Mode.COMPLETION), {"prompt": "Hello", **body}, stream=True)


def streamed(call, *texts):
    events = make("tgi").events(call)
    frames = [{"token": {"id": 1, "text": text, "logprob": 0, "special": False}} for text in texts]
    frames[-1]["details"] = {"finish_reason": "stop_sequence", "generated_tokens": len(texts), "input_length": 1}
    chunks = [json.loads(chunk) for frame in frames for chunk in events.feed(Frame("", json.dumps(frame).encode()))]
    list(events.end())
    return [choice["text"] for chunk in chunks for choice in chunk["choices"]]


@pytest.mark.parametrize(
    ("texts", "passed_on"),
    [
        (["Hi", "\nUs", "er:"], ["Hi", ""]),
        (["Hi", "\nUs", "able", "."], ["Hi", "\nUsable", ".", ""]),
        (["Hi\n", "\nUser", ":"], ["Hi", "\n", ""]),
        (["Hi", "\nUs"], ["Hi", "\nUs", ""]),
        (["\nUser:"], [""]),
    ],
)
def test_the_stop_sequence_is_no_part_of_the_text(texts, passed_on):
    assert streamed(a_completion(stop=["\nUser:", "END"]), *texts) == passed_on


def test_text_is_passed_on_as_it_comes():
    assert streamed(a_completion(), "Hi", " ", "you") == ["Hi", " ", "you", ""]


@pytest.mark.parametrize("prompt", [[1, 2], ["One", "Two"], []])
def test_what_is_no_single_text_is_refused(prompt):
    with pytest.raises(errors.RequestRefused, match="one prompt as plain text"):
        make("tgi").request(a_completion(prompt=prompt))


def test_prompts_are_asked_one_at_a_time():
    able = make("tgi").abilities(Target("zephyr", Mode.COMPLETION))

    assert (able.prompts, able.choices) == (1, 1)


def test_a_model_that_still_loads_is_worth_waiting_for():
    error = make("tgi").problem(Answer(503, {}, b'{"error": "Model x is currently loading", "estimated_time": 20.5}'))

    assert isinstance(error, errors.Overloaded)
    assert error.retry_after == 20.5


def test_the_most_that_a_model_can_say_is_asked_for():
    call = Call(Mode.COMPLETION, Target("zephyr", Mode.COMPLETION, max_output=77), {"prompt": "Hello"})

    body = json.loads(make("tgi").request(call).body)

    assert body["parameters"]["max_new_tokens"] == 77
