"""The HTTP side that all engines share."""

import http.client
import json
import socket
import time

import pytest

from tests.engines.programs import KEY, given

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
HELLO = json.dumps({"model": "fish", "messages": [{"role": "user", "content": "Hello"}]})


@pytest.fixture
def fish(start):
    settings = {"class_name": "tests.engines.fish:Fish", "model_id": "fish", "at_once": 1}
    program = start(given("python", settings=settings, classes=["tests.engines.fish:Fish"]))
    program.wait_for("running")
    return program


def ask(program, method="POST", path="/v1/chat/completions", body=HELLO, headers=HEADERS):
    line = http.client.HTTPConnection("127.0.0.1", program.port, timeout=30)
    line.request(method, path, body, headers)
    answer = line.getresponse()
    content = answer.read()
    line.close()
    return answer.status, content.decode()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer another"}, {"Authorization": "Basic ü".encode()}])
def test_nobody_without_the_key_gets_anything(fish, headers):
    assert ask(fish, headers=headers)[0] == 401
    assert ask(fish, "GET", "/v1/models", None, headers)[0] == 401
    assert ask(fish, "GET", "/health", None, headers)[0] == 401


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "must be a JSON object"),
        ('{"model": "bird"}', "no model 'bird' here, only fish"),
        ('{"model": "fish"}', "`messages` must be"),
        ('{"model": "fish", "messages": "Hello"}', "`messages` must be"),
    ],
)
def test_a_bad_body_is_refused_with_a_sentence(fish, body, said):
    status, content = ask(fish, body=body)

    assert status == 400
    assert said in json.loads(content)["error"]["message"]


def test_unknown_routes_and_bodies_without_end_are_refused(fish):
    assert ask(fish, "GET", "/etc/passwd", None)[0] == 404
    assert ask(fish, path="/v1/files")[0] == 404
    with socket.create_connection(("127.0.0.1", fish.port)) as line:
        line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
        assert line.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_stream_has_chunked_events_with_usage_and_an_end(fish):
    body = json.dumps({**json.loads(HELLO), "stream": True})

    status, content = ask(fish, body=body)

    events = [line.removeprefix("data: ") for line in content.split("\n") if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events[:-1]]
    assert status == 200
    assert events[-1] == "[DONE]"
    assert chunks[0]["choices"][0]["delta"]["content"].endswith("Hello")
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] == 10


def test_a_request_whose_client_left_gives_its_turn_away(start, tmp_path):
    gate = tmp_path / "gate"
    settings = {
        "class_name": "tests.engines.fish:Slow",
        "model_id": "fish",
        "at_once": 1,
        "arguments": {"name": str(gate)},
    }
    program = start(given("python", settings=settings, classes=["tests.engines.fish:Slow"]))
    program.wait_for("running")
    first, second = (http.client.HTTPConnection("127.0.0.1", program.port, timeout=30) for _ in range(2))
    first.request("POST", "/v1/chat/completions", HELLO, HEADERS)
    wait_until(lambda: (tmp_path / "gate-1").exists(), "the first has its turn")
    busy = program.threads
    second.request("POST", "/v1/chat/completions", HELLO, HEADERS)
    wait_until(lambda: program.threads > busy, "the second waits for its own")

    second.close()
    wait_until(lambda: program.threads == busy, "the second is given up")
    gate.touch()

    assert json.loads(first.getresponse().read())["choices"][0]["message"]["content"] == "awake"
    assert ask(program)[0] == 200
    assert not (tmp_path / "gate-3").exists()


def wait_until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_while_it_loads_it_says_how_far_it_is(start, tmp_path):
    (tmp_path / "sleepy.py").write_text(
        "import pathlib, time\nclass Sleepy:\n    model_name = 'x'\n    def load(self):\n"
        f"        while not pathlib.Path({str(tmp_path / 'gate')!r}).exists(): time.sleep(0.02)\n"
        "    def generate(self, inputs): return [['up']]\n"
    )
    settings = {"class_name": "sleepy:Sleepy", "model_id": "fish", "at_once": 1}
    program = start(given("python", settings=settings, classes=["sleepy:Sleepy"]), tmp_path)
    deadline = time.monotonic() + 60
    while program.wait_for("loading")["percent"] < 30:
        assert time.monotonic() < deadline

    status, content = ask(program)
    (tmp_path / "gate").touch()
    program.wait_for("running")

    assert (status, json.loads(content)["error"]["message"]) == (503, "The model is being loaded: 30 %.")
    assert ask(program)[0] == 200


def test_it_ends_when_it_is_told_to(fish):
    fish.process.terminate()

    assert fish.process.wait(20) == 0
