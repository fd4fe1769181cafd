"""Real tokens through our adapters, from the servers that people really run."""

import json
from typing import Any

import pytest

from connections.providers.calls import Mode, Target
from connections.providers.errors import ModelMissing, ProviderError
from tests.peers import programs
from tests.peers.conftest import free_port, python_of

pytestmark = [pytest.mark.peer, pytest.mark.local_model]
MODEL = Target("smollm2")
TEXT = Target("smollm2", Mode.COMPLETION)
CHATML = Target("smollm2", Mode.COMPLETION, options={"prompt_format": "chatml"})


def said(chunks: list[bytes]) -> str:
    choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
    return "".join((choice.get("delta") or {}).get("content") or choice.get("text") or "" for choice in choices)


async def check_paris(asked: Any, target: Target, *, counted: bool = True) -> None:
    """The same answer whole and streamed, in several chunks, with its tokens."""
    whole = json.loads((await asked.whole(target)).body)["choices"][0]["message"]["content"]
    chunks, told = await asked.stream(target)

    assert "Paris" in whole
    assert said(chunks).strip() == whole.strip()
    assert len(chunks) > 3
    assert told.finish_reason == "stop"
    if counted:
        assert told.usage.prompt_tokens > 5
        assert told.usage.completion_tokens > 3


@pytest.mark.proves(kind="llamacpp", mode="chat", by="real peer")
async def test_llamacpp_chats(llama, ask):
    await check_paris(ask("llamacpp", {"base_url": llama.url}), MODEL)


@pytest.mark.proves(kind="llamacpp", mode="completion", by="real peer")
async def test_llamacpp_completes_by_its_own_route(llama, ask):
    chunks, told = await ask("llamacpp", {"base_url": llama.url}).stream(TEXT, Mode.COMPLETION)

    assert len(said(chunks)) > 20
    assert (told.finish_reason, told.usage.completion_tokens) == ("length", 20)


@pytest.mark.proves(kind="openai_compatible", mode="chat", by="real peer")
async def test_openais_dialect(llama, ask):
    await check_paris(ask("openai_compatible", {"base_url": llama.url, "sign_in": "none"}), MODEL)


@pytest.mark.proves(kind="anthropic", mode="chat", by="real peer")
async def test_anthropics_dialect(llama, ask):
    await check_paris(ask("anthropic", {"base_url": llama.url, "api_key": "sk-ant-none"}), MODEL)


@pytest.fixture(scope="session")
def langserve(llama, start, program):
    port = free_port()
    command = [python_of("langserve"), program("app.py", programs.LANGSERVE), f"{llama.url}/v1", str(port)]
    return start(command, port, "/chat/input_schema")


@pytest.mark.proves(kind="langserve", mode="chat", by="real peer")
async def test_langserves_chat_model(langserve, ask):
    asked = ask("langserve", {"base_url": f"{langserve.url}/chat"})

    assert await asked.names() == ["chat"]
    await check_paris(asked, Target("chat"))


async def test_langserves_chain(langserve, ask):
    target = Target("chain", options={"input": "field", "field": "topic"})
    asked = ask("langserve", {"base_url": f"{langserve.url}/chain"})

    chunks, told = await asked.stream(target, messages=[{"role": "user", "content": "the sea"}])

    assert "sea" in said(chunks)
    assert told.usage.completion_tokens is None


@pytest.fixture(scope="session")
def litellm(llama, start, program):
    port, config = free_port(), program("config.yaml", programs.LITELLM % f"{llama.url}/v1")
    command = [python_of("litellm").replace("/python", "/litellm"), "--config", config]
    return start([*command, "--host", "127.0.0.1", "--port", str(port)], port, "/health/liveliness")


@pytest.mark.proves(kind="litellm", mode="chat", by="real peer")
async def test_litellms_proxy(litellm, ask):
    asked = ask("litellm", {"base_url": litellm.url, "api_key": "sk-peer-0123456789"})

    assert await asked.names() == ["small"]
    await check_paris(asked, Target("small"))


async def test_litellm_does_not_know_a_model(litellm, ask):
    asked = ask("litellm", {"base_url": litellm.url, "api_key": "sk-peer-0123456789"})

    with pytest.raises(ProviderError):
        await asked.whole(Target("absent"))


@pytest.fixture(scope="session")
def checkpoint(program, weights, tmp_path_factory):
    """The built-in weights as a folder of safetensors."""
    import subprocess

    folder = tmp_path_factory.mktemp("weights") / "smollm2-hf"
    command = [python_of("fastchat"), program("convert.py", programs.CONVERT), str(weights), str(folder)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="session")
def transformers_serve(start, checkpoint):
    port, program = free_port(), python_of("transformers").replace("/python", "/transformers")
    command = [program, "serve", str(checkpoint), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    return start([*command, "--dtype", "float32"], port, "/health")


async def test_transformers_own_server(transformers_serve, checkpoint, ask):
    """Its list of models wants the hub: the check asks for /health instead."""
    settings = {"base_url": transformers_serve.url, "sign_in": "none", "paths": {"check": "/health"}}
    asked = ask("openai_compatible", settings)

    assert await asked.names() == []
    await check_paris(asked, Target(str(checkpoint)))


@pytest.fixture(scope="session")
def fastchat(start, checkpoint):
    """A controller and a worker."""
    folder, python = checkpoint, python_of("fastchat")
    ports = free_port(), free_port()
    place = ["--host", "127.0.0.1", "--port"]
    controller = start([python, "-m", "fastchat.serve.controller", *place, str(ports[0])], ports[0], "/test_connection")
    command = [python, "-m", "fastchat.serve.model_worker", "--model-path", str(folder), "--model-names", "smollm2"]
    command += ["--device", "cpu", *place, str(ports[1]), "--controller-address", controller.url]
    worker = start(
        [*command, "--worker-address", f"http://127.0.0.1:{ports[1]}"], ports[1], "/worker_get_status", post=True
    )
    return controller, worker


@pytest.mark.proves(kind="fastchat", mode="completion", by="real peer")
@pytest.mark.parametrize("role", ["worker", "controller"])
async def test_fastchats_workers(fastchat, ask, role):
    url = fastchat[role == "worker"].url
    asked = ask("fastchat", {"base_url": url, "role": role})

    assert await asked.names() == ["smollm2"]
    chunks, told = await asked.stream(TEXT, Mode.COMPLETION)
    assert len(said(chunks)) > 20
    assert told.usage.prompt_tokens
    await check_paris(asked, CHATML)


@pytest.mark.proves(kind="fastchat", mode="embedding", by="real peer")
async def test_fastchats_controller_names_a_worker_for_embeddings(fastchat, ask):
    asked = ask("fastchat", {"base_url": fastchat[0].url, "role": "controller"})

    reply = await asked.whole(Target("smollm2", Mode.EMBEDDING), Mode.EMBEDDING, input=["one", "two"])

    assert [len(item["embedding"]) for item in json.loads(reply.body)["data"]] == [576, 576]
    with pytest.raises(ModelMissing):
        await asked.whole(Target("absent", Mode.EMBEDDING), Mode.EMBEDDING, input=["one"])


@pytest.fixture(scope="session")
def xinference(start, weights, tmp_path_factory):
    """A supervisor that has launched the built-in weights as `small`."""
    import copy
    import os
    import shutil
    import urllib.request

    folder, port = tmp_path_factory.mktemp("xinference"), free_port()
    shutil.copy(weights, folder / weights.name)
    os.environ |= {"XINFERENCE_HOME": str(folder), "XINFERENCE_AUTH_ADVANCED": "0"}
    program = python_of("xinference").replace("/python", "/xinference-local")
    server = start([program, "--host", "127.0.0.1", "--port", str(port)], port, "/status")
    known = copy.deepcopy(programs.XINFERENCE)
    known["model_specs"][0] |= {
        "model_file_name_template": weights.name,
        "model_uri": f"file://{folder}/{weights.name}",
    }
    launched = {"model_uid": "small", "model_name": "small", "model_type": "LLM", "model_engine": "llama.cpp"}
    launched |= {"model_format": "ggufv2", "model_size_in_billions": 1, "quantization": "Q4_1", "n_gpu": None}
    for path, body in (
        ("/v1/model_registrations/LLM", {"model": json.dumps(known), "persist": False}),
        ("/v1/models", launched),
    ):
        request = urllib.request.Request(
            server.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=300).close()
    return server


@pytest.mark.proves(kind="xinference", mode="chat", by="real peer")
@pytest.mark.proves(kind="xinference", mode="completion", by="real peer")
async def test_xinferences_models(xinference, ask):
    asked = ask("xinference", {"base_url": xinference.url})

    assert await asked.names() == ["small"]
    await check_paris(asked, Target("small"))
    chunks, told = await asked.stream(Target("small", Mode.COMPLETION), Mode.COMPLETION)
    assert len(said(chunks)) > 20
    assert told.model == "small"
    with pytest.raises(ModelMissing):
        await asked.whole(Target("absent"))
