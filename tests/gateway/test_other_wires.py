"""Calls through the real server to systems with wires of their own: predictions, plain-text streams, `/generate`."""

import json
import time

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from access import keys
from access.models import EVERYONE, User
from access.roles import Role, Scope
from connections.providers import monsterapi, replicate
from connections.providers.calls import Mode
from tests.mesh import make_connection, serving
from tests.upstream.faults import Fault
from tests.upstream.replicate import SLOW, STREAMING, STUCK

CHAT = "/v1/chat/completions"
CONNECTIONS = {
    "replicate": ("replicate", {STREAMING: Mode.CHAT, SLOW: Mode.CHAT, STUCK: Mode.CHAT}),
    "tgi": ("tgi", {"zephyr": Mode.COMPLETION}),
    "anyscale": ("compatible", {"local-chat": Mode.CHAT}),
    "clarifai": ("clarifai", {"acme/main/writer": Mode.COMPLETION}),
    "meta_llama": ("meta_llama", {"Llama-3.3-8B-Instruct": Mode.CHAT}),
    "monsterapi": ("monsterapi", {"falcon-7b-instruct": Mode.COMPLETION}),
}
"""By kind: the upstream's dialect that it speaks, and its models."""


@pytest.fixture(scope="module")
def served(django_db_setup, django_db_blocker, upstream_server):
    """One application with a connection of each kind."""
    with django_db_blocker.unblock():
        everyone, _ = Group.objects.get_or_create(name=EVERYONE)
        for kind, (dialect, models) in CONNECTIONS.items():
            settings = {"base_url": upstream_server.url(dialect)}
            if kind == "monsterapi":
                settings["process_url"] = settings["base_url"]
            make_connection(upstream_server, dialect, models, everyone, name=kind, kind=kind, settings=settings)
        owner = User.objects.create_user("caller", role=Role.ANALYST)
        with serving() as running:
            running.key = keys.issue(owner, "suite", scopes=list(Scope.values))[1]
            running.refresh()
            yield running
        call_command("flush", interactive=False, verbosity=0)
        Group.objects.get_or_create(name=EVERYONE)


@pytest.fixture
def mesh(served, upstream, monkeypatch):
    monkeypatch.setattr(replicate, "EVERY", 0.05)
    monkeypatch.setattr(monsterapi, "EVERY", 0.05)
    return served


def chat(model, text="one two three", **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def routes(upstream):
    return [f"{request.method} {request.route}" for request in upstream.requests]


def begin(mesh, body):
    """A socket on which a call was sent; to close it is to leave."""
    data = json.dumps(body).encode()
    head = [f"POST {CHAT} HTTP/1.1", "Host: mesh", f"Authorization: Bearer {mesh.key}"]
    head += ["Content-Type: application/json", f"Content-Length: {len(data)}", "", ""]
    line = mesh.connect()
    line.sendall("\r\n".join(head).encode() + data)
    return line


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- Replicate -------------------------------------------------------------------------------------------


def test_a_stream_of_plain_text_keeps_every_space(mesh, upstream):
    upstream.always(Fault.answer(text=" one  two\nthree 🐟\n"))

    answer = mesh.post(CHAT, chat(f"replicate/{STREAMING}", stream=True))

    assert answer.text == " one  two\nthree 🐟\n"
    assert answer.events[-1] == "[DONE]"
    row = mesh.usage(answer)
    assert (row.state, row.estimated) == ("ok", True)


def test_a_prediction_that_is_over_at_once_takes_one_request(mesh, upstream):
    mesh.post(CHAT, chat(f"replicate/{STREAMING}"))  # reads the schema, if nobody has yet
    upstream.requests.clear()

    answer = mesh.post(CHAT, chat(f"replicate/{STREAMING}", max_tokens=2, top_k=3))

    assert answer.text == "one two "
    assert answer.headers["x-mesh-adjusted"] == "top_k dropped"
    assert routes(upstream) == [f"POST /v1/models/{STREAMING}/predictions"]
    assert upstream.requests[0].json["input"] == {"prompt": "one two three", "max_tokens": 2}
    row = mesh.usage(answer)
    assert (row.prompt_tokens, row.completion_tokens, row.estimated) == (4, 2, False)


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_cannot_stream_is_asked_after(mesh, upstream, stream):
    answer = mesh.post(CHAT, chat(f"replicate/{SLOW}", stream=stream))

    assert answer.text == "one two three"
    number = next(request.number for request in upstream.requests if request.method == "POST")
    assert routes(upstream)[-2:] == [f"GET /v1/predictions/p{number}"] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_cancels_the_prediction(mesh, upstream, stream):
    with begin(mesh, chat(f"replicate/{STUCK}", stream=stream)):
        wait_for(lambda: any("/predictions/" in route for route in routes(upstream)))

    wait_for(lambda: routes(upstream)[-1].endswith("/cancel"))
    number = next(request.number for request in upstream.requests if request.method == "POST")
    assert routes(upstream)[-1] == f"POST /v1/predictions/p{number}/cancel"


def test_leaving_a_stream_cancels_its_prediction(mesh, upstream):
    upstream.always(Fault.answer(chunks=400, delay=0.02))
    with begin(mesh, chat(f"replicate/{STREAMING}", stream=True)) as line:
        received = b""
        while b"word1" not in received:
            received += line.recv(4096)
    upstream.always(None)

    wait_for(lambda: routes(upstream)[-1].endswith("/cancel"))


def test_an_error_of_the_model_is_told(mesh, upstream):
    upstream.always(Fault.status(422))

    answer = mesh.post(CHAT, chat("replicate/meta/chat"))

    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert "Scripted failure." in answer.error["message"]


# --- TGI -------------------------------------------------------------------------------------------------


def test_a_conversation_streams_from_generate_without_its_stop_sequence(mesh, upstream):
    upstream.always(Fault.answer(text="one two </s>three"))

    answer = mesh.post(CHAT, chat("tgi/zephyr", temperature=0, max_tokens=9, stream=True))

    assert answer.text == "one two "
    [request] = upstream.requests
    assert request.route == "/generate_stream"
    assert request.json["inputs"] == "<|user|>\none two three</s>\n<|assistant|>\n"
    row = mesh.usage(answer)
    assert (row.state, row.finish_reason, row.completion_tokens, row.estimated) == ("ok", "stop", 3, False)


def test_a_whole_completion_tells_its_tokens(mesh, upstream):
    answer = mesh.post("/v1/completions", {"model": "tgi/zephyr", "prompt": "one two three", "max_tokens": 2})

    assert answer.json["choices"][0] | {"logprobs": None} == {
        "index": 0,
        "text": "one two ",
        "logprobs": None,
        "finish_reason": "length",
    }
    row = mesh.usage(answer)
    assert (row.prompt_tokens, row.completion_tokens, row.estimated) == (3, 2, False)


def test_a_full_queue_is_overload(mesh, upstream):
    upstream.always(Fault.status(429))

    answer = mesh.post(CHAT, chat("tgi/zephyr", stream=True))

    assert (answer.status, answer.error["type"]) == (503, "overloaded_error")


# --- Clarifai, Meta, MonsterAPI --------------------------------------------------------------------------


def test_a_chat_becomes_an_input_of_clarifais_own_wire(mesh, upstream):
    upstream.always(Fault.answer(text="one two three"))

    answer = mesh.post(CHAT, chat("clarifai/acme/main/writer", "A fish?", max_tokens=2, stream=True))

    [request] = upstream.requests
    assert answer.text == "one two "
    assert "A fish?" in request.json["inputs"][0]["data"]["text"]["raw"]
    assert request.json["model"]["model_version"]["output_info"]["params"] == {"max_tokens": 2}
    assert "stream answered whole" in answer.headers["x-mesh-adjusted"]
    row = mesh.usage(answer)
    assert (row.state, row.completion_tokens, row.estimated) == ("ok", 2, False)


def test_a_model_that_is_not_deployed_is_overload_even_under_status_200(mesh, upstream):
    upstream.always(Fault.status(200, b'{"status": {"code": 21353, "description": "Model is not deployed"}}'))

    answer = mesh.post("/v1/completions", {"model": "clarifai/acme/main/writer", "prompt": "Hi"})

    assert (answer.status, answer.error["type"]) == (503, "overloaded_error")


@pytest.mark.parametrize("stream", [False, True])
def test_metas_metrics_are_the_usage(mesh, upstream, stream):
    answer = mesh.post(CHAT, chat("meta_llama/Llama-3.3-8B-Instruct", max_tokens=2, stream=stream))

    assert answer.text == "one two "
    row = mesh.usage(answer)
    assert (row.prompt_tokens, row.completion_tokens, row.finish_reason, row.estimated) == (3, 2, "length", False)


def test_a_stream_of_events_that_ends_early_is_an_error(mesh, upstream):
    upstream.always(Fault.ends_early(2))

    answer = mesh.post(CHAT, chat("meta_llama/Llama-3.3-8B-Instruct", stream=True))

    assert b"event: error" in answer.body
    assert b"[DONE]" not in answer.body


def test_a_process_is_asked_after_until_its_text_is_there(mesh, upstream):
    answer = mesh.post("/v1/completions", {"model": "monsterapi/falcon-7b-instruct", "prompt": "one two three"})

    assert answer.json["choices"][0]["text"] == "one two three"
    number = upstream.requests[0].number
    assert routes(upstream)[1:] == [f"GET /v1/status/process-{number}"] * 2


# --- a retired service -----------------------------------------------------------------------------------


def test_an_endpoint_of_a_retired_service_still_answers(mesh, upstream):
    assert mesh.post(CHAT, chat("anyscale/local-chat")).text == "one two three"
    assert upstream.requests[0].route == "/v1/chat/completions"
