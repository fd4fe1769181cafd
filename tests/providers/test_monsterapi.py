"""MonsterAPI's processes: started, asked after, told about in capitals or not."""

import json

import pytest

from connections.providers import errors
from connections.providers.calls import Answer, Call, Mode, Outgoing, Pause, Target
from tests.providers.conftest import a_call, make

BASE = "https://api.monsterapi.ai/v1"


def told(content, status=200):
    return Answer(status, {}, json.dumps(content).encode())


def started(mode=Mode.COMPLETION):
    steps = make("monsterapi").steps(a_call(make("monsterapi"), mode))
    assert next(steps).url.startswith(f"{BASE}/generate/")
    return steps


@pytest.mark.parametrize("states", [["IN_QUEUE", "IN_PROGRESS", "COMPLETED"], ["in_queue", "completed"], ["Completed"]])
def test_a_process_is_asked_after_until_it_is_over(states):
    steps = started()
    step = steps.send(told({"message": "Request accepted", "process_id": "p-1", "status_url": "https://evil.test"}))
    for state in states[:-1]:
        assert step == Pause(1.0)
        assert steps.send(None) == Outgoing("GET", f"{BASE}/status/p-1")
        step = steps.send(told({"process_id": "p-1", "status": state}))
    steps.send(None)

    with pytest.raises(StopIteration) as done:
        steps.send(told({"process_id": "p-1", "status": states[-1], "result": {"text": "Hello"}}))

    assert json.loads(done.value.value.body)["choices"][0]["text"] == "Hello"


@pytest.mark.parametrize("answer", [{"message": "accepted"}, {"process_id": "../x"}, {"process_id": 7}, []])
def test_without_a_process_there_is_no_waiting(answer):
    with pytest.raises((errors.BadReply, errors.ServerFailed)):
        started().send(told(answer))


def test_a_refusal_while_waiting_is_told():
    steps = started()
    steps.send(told({"process_id": "p-1"}))
    steps.send(None)

    with pytest.raises(errors.RateLimited):
        steps.send(told({"message": "Slow down"}, 429))


def test_a_chat_takes_one_request():
    steps = make("monsterapi").steps(a_call(make("monsterapi"), Mode.CHAT))

    assert next(steps).url == "https://llm.monsterapi.ai/v1/chat/completions"


@pytest.mark.parametrize(
    ("given", "shape", "adjusted"),
    [
        ({"size": "1024x1024"}, "square", "size sent as square"),
        ({"aspect_ratio": "2:3"}, "portrait", "aspect_ratio sent as portrait"),
        ({"size": "auto"}, None, "size dropped"),
        ({"aspect_ratio": "wide"}, None, "aspect_ratio dropped"),
        ({"aspect_ratio": "0:0"}, None, "aspect_ratio dropped"),
    ],
)
def test_a_picture_has_one_of_three_shapes(given, shape, adjusted):
    call = Call(Mode.IMAGE, Target("txt2img", Mode.IMAGE), {"prompt": "A fish", **given})

    body = json.loads(make("monsterapi").request(call).body)

    assert body.get("aspect_ratio") == shape
    assert list(map(str, call.adjusted)) == [adjusted]
