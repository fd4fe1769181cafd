"""Calls through the real server to SageMaker's endpoints, each signed, in shapes of containers and of our own."""

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from access import keys
from access.models import EVERYONE, User
from access.roles import Role, Scope
from connections.providers.calls import Mode
from tests.mesh import make_connection, serving
from tests.upstream import sigv4
from tests.upstream.faults import Fault
from tests.upstream.sagemaker import OLD_TOKEN

CHAT = "/v1/chat/completions"
TEMPLATE = {
    "request": {"query": {"text": {"$": "prompt"}, "limit": {"$": "max_tokens"}}, "go": {"$": "stream"}},
    "answer": {"text": "result.text", "prompt_tokens": "cost.read", "completion_tokens": "cost.written"},
    "stream": {"framing": "lines", "text": "delta", "finish": "over", "completion_tokens": "written"},
}
OPTIONS = {
    "tgi-1": {"shape": "hf-tgi", "prompt_format": "zephyr"},
    "broken-1": {"shape": "hf-tgi"},
    "own-1": {"shape": "own-template", "template": TEMPLATE},
    "vllm-1": {"custom_attributes": "accept_eula=true", "target_variant": "AllTraffic"},
    "gone-1": {},
}
SECRETS = {"access_key_id": sigv4.KEY_ID, "secret_access_key": sigv4.SECRET}


def settings_for(upstream):
    address = upstream.url("sagemaker")
    return {"region": "us-east-1", "endpoint_url": address, "control_url": address}


@pytest.fixture(scope="module")
def served(django_db_setup, django_db_blocker, upstream_server):
    with django_db_blocker.unblock():
        everyone, _ = Group.objects.get_or_create(name=EVERYONE)
        settings = settings_for(upstream_server)
        for name, secrets in {"aws": SECRETS, "old": {**SECRETS, "session_token": OLD_TOKEN}}.items():
            connection = make_connection(
                upstream_server, "sagemaker", dict.fromkeys(OPTIONS, Mode.CHAT), everyone,
                name=name, kind="sagemaker", settings=settings, secrets=secrets,
            )  # fmt: skip
            for model in connection.models.all():
                model.options = OPTIONS[model.upstream_id]
                model.save()
        owner = User.objects.create_user("caller", role=Role.ANALYST)
        with serving() as running:
            running.key = keys.issue(owner, "suite", scopes=list(Scope.values))[1]
            running.refresh()
            yield running
        call_command("flush", interactive=False, verbosity=0)
        Group.objects.get_or_create(name=EVERYONE)


@pytest.fixture
def mesh(served, upstream):
    return served


def chat(model, text="one two three", **fields):
    return {"model": f"aws/{model}", "messages": [{"role": "user", "content": text}], **fields}


@pytest.mark.proves(kind="sagemaker", mode="chat", by="official schema")
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_through_text_generation_is_answered(mesh, upstream, stream):
    answer = mesh.post(CHAT, chat("tgi-1", "Größe 🙂 日本", stream=stream, max_tokens=50))

    prompt = "<|user|>\nGröße 🙂 日本</s>\n<|assistant|>\n"
    assert upstream.requests[0].json["inputs"] == prompt
    assert answer.text == prompt.partition("</s>")[0]
    assert "messages sent as one prompt" in answer.headers["x-mesh-adjusted"]
    row = mesh.usage(answer)
    assert row.completion_tokens == 5
    assert row.prompt_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_through_a_template_is_answered(mesh, upstream, stream):
    answer = mesh.post(CHAT, chat("own-1", 'say "}} {{7*7}}" \\ 🙂', stream=stream))

    assert upstream.requests[0].json == {"query": {"text": 'say "}} {{7*7}}" \\ 🙂'}, "go": stream}
    assert answer.text == 'say "}} {{7*7}}" \\ 🙂'
    row = mesh.usage(answer)
    assert row.completion_tokens == 5


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_through_openais_messages_passes(mesh, upstream, stream):
    answer = mesh.post(CHAT, chat("vllm-1", stream=stream))

    assert answer.text == "one two three"
    headers = upstream.requests[0].headers
    assert headers["x-amzn-sagemaker-custom-attributes"] == "accept_eula=true"
    assert headers["x-amzn-sagemaker-inference-id"] == answer.headers["x-request-id"]
    row = mesh.usage(answer)
    assert (row.completion_tokens, row.estimated) == (3, False)


def test_a_containers_failure_is_told_without_its_words(mesh):
    answer = mesh.post(CHAT, chat("broken-1"))

    assert (answer.status, answer.error["code"]) == (503, "upstream_unavailable")
    assert "container failed" in answer.error["message"]
    assert "CUDA" not in answer.body.decode()


def test_a_stream_that_breaks_ends_with_its_error(mesh):
    answer = mesh.post(CHAT, chat("broken-1", stream=True))

    assert answer.chunks[0]["choices"][0]["delta"]["content"] == "Half "
    assert "error" in answer.chunks[-1]
    assert "[DONE]" not in answer.events


def test_keys_whose_time_is_over_are_the_connections_problem(mesh):
    answer = mesh.post(CHAT, {**chat("tgi-1"), "model": "old/tgi-1"})

    assert (answer.status, answer.error["code"]) == (502, "upstream_auth_error")


def test_an_endpoint_that_is_not_there_is_told(mesh):
    answer = mesh.post(CHAT, chat("gone-1"))

    assert answer.status == 400
    assert "Endpoint gone-1 of account" in answer.error["message"]


def test_a_caller_who_leaves_ends_the_stream(mesh, upstream):
    upstream.script(Fault.answer(chunks=200, delay=0.05))
    line = mesh.open("POST", CHAT, chat("tgi-1", stream=True, max_tokens=500))
    line.readline()
    line.close()

    assert upstream.requests[0].disconnected.wait(10)
