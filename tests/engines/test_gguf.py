"""`local_model`: GGUF files through real llama.cpp servers, in an engine."""

import shutil

import openai
import pytest
from openai import OpenAI

from connections.engines.told import HOPELESS
from tests.engines.programs import KEY, given

MODEL = "smollm2-135m-instruct.q4_1"
SETTINGS = {"context": 512, "at_once": 1, "gpu_layers": 0, "chat_template": ""}


def told(folder, *files):
    return given("gguf", folders=[folder], settings={**SETTINGS, "files": list(files)})


@pytest.mark.local_model
@pytest.mark.proves(kind="gguf", mode="chat", by="real peer")
@pytest.mark.proves(kind="gguf", mode="embedding", by="real peer")
def test_two_files_answer_on_one_port_with_real_tokens(start, weights, tmp_path):
    shutil.copy(weights, tmp_path / "Second.gguf")
    shutil.copy(weights, tmp_path / weights.name)
    program = start(told(tmp_path, weights.name, "Second.gguf"))
    program.wait_for("running")
    client = OpenAI(base_url=f"{program.url}/v1", api_key=KEY, max_retries=0)
    hello = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16, "seed": 1, "temperature": 0}

    whole = client.chat.completions.create(model=MODEL, **hello)
    streamed = list(client.chat.completions.create(model="second", **hello, stream=True))
    vectors = client.embeddings.create(model=MODEL, input=["one", "two"], encoding_format="float").data

    assert [model.id for model in client.models.list()] == [MODEL, "second"]
    assert whole.usage.completion_tokens > 3
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(streamed) > 4
    assert [len(vector.embedding) for vector in vectors] == [576, 576]
    with pytest.raises(openai.BadRequestError, match="exceeds the available context"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 2000}])
    assert any(0 < report.get("percent", 0) < 100 for report in program.reports)


@pytest.mark.local_model
def test_a_client_that_leaves_frees_its_turn(start, weights):
    """Left alone, each of the two endless answers would keep the only turn for minutes."""
    settings = {**SETTINGS, "context": 8192, "files": [weights.name]}
    program = start(given("gguf", folders=[weights.parent], settings=settings))
    program.wait_for("running")
    client = OpenAI(base_url=f"{program.url}/v1", api_key=KEY, max_retries=0, timeout=45)
    endless = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "extra_body": {"ignore_eos": True}}

    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(**endless, max_tokens=100_000)
    with client.chat.completions.create(**endless, max_tokens=100_000, stream=True) as stream:
        next(iter(stream))

    short = client.chat.completions.create(model=MODEL, messages=endless["messages"], max_tokens=2)
    assert short.usage.completion_tokens == 2


def test_only_gguf_files_below_the_listed_folders_are_loaded(start, tmp_path):
    inside, outside = tmp_path / "models", tmp_path / "other"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.gguf").write_bytes(b"GGUF secret")
    (inside / "link.gguf").symlink_to(outside / "secret.gguf")
    (inside / "text.gguf").write_text("nothing")
    for name, expected in [
        ("link.gguf", "leads out of the folder"),
        ("../other/secret.gguf", "leads out of the folder"),
        (str(outside / "secret.gguf"), "leads out of the folder"),
        ("text.gguf", "is no GGUF file"),
        ("missing.gguf", "There is no missing.gguf in"),
    ]:
        program = start(told(inside, name))
        assert expected in program.wait_for("failed")["reason"]
        assert program.process.wait(20) == HOPELESS


def test_without_a_listed_folder_nothing_is_read(start):
    program = start(given("gguf", settings={**SETTINGS, "files": ["a.gguf"]}))

    assert "Set MESH_MODEL_FOLDERS" in program.wait_for("failed")["reason"]
