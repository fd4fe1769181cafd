"""Engines with the real libraries: transformers, jinja2 and LangChain, in the environment that `make engines` makes."""

import json
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from connections.engines.told import HOPELESS
from tests.engines.programs import KEY, Program, given

PYTHON = Path(__file__).resolve().parents[2] / ".venv-engines" / "bin" / "python"
MAKE = """
import sys
from pathlib import Path
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

def tokenizer():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet, special = pre_tokenizers.ByteLevel.alphabet(), ["<pad>", "<s>", "</s>", "<|user|>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator(["Hello fish, how are you today? A small fish swims."] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>")

root = Path(sys.argv[1])
torch.manual_seed(7)
ids = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
sizes = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
words = tokenizer()
words.chat_template = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<|user|>{{ m.content }}{% endfor %}<s>"
)
causal = LlamaForCausalLM(LlamaConfig(vocab_size=len(words), max_position_embeddings=4096, **sizes, **ids))
causal.generation_config.eos_token_id = None  # it never ends by itself, so that lengths are certain
causal.save_pretrained(root / "tiny-llama"), words.save_pretrained(root / "tiny-llama")
words = tokenizer()
translating = T5ForConditionalGeneration(
    T5Config(vocab_size=len(words), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, decoder_start_token_id=0)
)
translating.save_pretrained(root / "tiny-t5"), words.save_pretrained(root / "tiny-t5")
"""
HELLO = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello fish"}]}
pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def python() -> str:
    if not PYTHON.exists():
        pytest.skip("The environment of engines is not there: run make engines.")
    return str(PYTHON)


@pytest.fixture(scope="module")
def checkpoints(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models with random weights."""
    import subprocess

    folder = tmp_path_factory.mktemp("checkpoints")
    subprocess.run([python, "-c", MAKE, str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def run(python: str) -> Any:
    running: list[Program] = []

    def begin(engine: str, state: str = "running", path: Path | None = None, **told: Any) -> Program:
        program = Program(given(engine, **told), *([path] if path else []), python=python)
        running.append(program)
        program.wait_for(state, patience=300)
        return program

    yield begin
    for program in running:
        program.end()


def client(program: Program) -> OpenAI:
    return OpenAI(base_url=f"{program.url}/v1", api_key=KEY, max_retries=0)


def settings(name: str, **more: Any) -> dict[str, Any]:
    return {"folder": name, "model_id": name, "dtype": "auto", "device": "cpu", "chat_template": "", **more}


@pytest.fixture(scope="module")
def llama(run: Any, checkpoints: Path) -> Program:
    return run("transformers", folders=[checkpoints], settings=settings("tiny-llama"))


@pytest.mark.proves(kind="transformers", mode="chat", by="real peer")
def test_a_causal_checkpoint_chats_whole_and_streamed(llama):
    ask = client(llama).chat.completions.create
    same = {"model": "tiny-llama", **HELLO, "max_tokens": 24, "seed": 5, "temperature": 0.9}

    whole = ask(**same)
    chunks = list(ask(**same, stream=True, stream_options={"include_usage": True}))

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 3
    assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (24, "length")
    assert chunks[-1].usage == whole.usage
    assert ask(**{**same, "seed": 6}).choices[0].message.content != text


def test_stop_texts_end_the_answer(llama):
    greedy = {"model": "tiny-llama", **HELLO, "max_tokens": 24, "temperature": 0}
    ask = client(llama).chat.completions.create
    text = ask(**greedy).choices[0].message.content
    stop = text[len(text) // 2 :][:3]

    stopped = ask(**greedy, stop=[stop])

    assert stopped.choices[0].message.content == text[: text.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"


def test_a_client_that_leaves_ends_the_generation(llama):
    ask = client(llama).chat.completions.create
    endless = {"model": "tiny-llama", **HELLO, "max_tokens": 4000}
    with pytest.raises(openai.APITimeoutError):
        client(llama).with_options(timeout=1).chat.completions.create(**endless)
    with ask(**endless, stream=True) as stream:
        next(iter(stream))

    began = time.monotonic()
    assert ask(**{**endless, "max_tokens": 2}).usage.completion_tokens == 2
    told = time.monotonic() - began
    assert told < 600, "the turn was never given away"


def test_beams_and_other_parameters_reach_the_model(llama):
    ask = client(llama).completions.create
    asked = {"model": "tiny-llama", "prompt": "Hello", "max_tokens": 6}

    beams = ask(**asked, extra_body={"num_beams": 3, "no_repeat_ngram_size": 2, "length_penalty": 0.5})

    assert beams.usage.completion_tokens == 6
    with pytest.raises(openai.BadRequestError, match="must be a whole number"):
        ask(**asked, extra_body={"top_k": "many"})
    with pytest.raises(openai.BadRequestError, match="the model takes 4096"):
        ask(**{**asked, "prompt": "word " * 5000})


@pytest.mark.proves(kind="transformers", mode="embedding", by="real peer")
def test_embeddings_are_means_of_the_last_hidden_state(llama):
    vectors = client(llama).embeddings.create(model="tiny-llama", input=["a fish", "a bird"])

    assert [len(one.embedding) for one in vectors.data] == [64, 64]
    assert vectors.usage.prompt_tokens > 2


@pytest.mark.proves(kind="transformers", mode="completion", by="real peer")
def test_a_sequence_to_sequence_checkpoint_completes_and_embeds(run, checkpoints):
    program = run("transformers", folders=[checkpoints], settings=settings("tiny-t5"))

    answer = client(program).completions.create(model="tiny-t5", prompt="Hello fish", max_tokens=5, temperature=0)
    chunks = list(client(program).completions.create(model="tiny-t5", prompt="Hello", max_tokens=5, stream=True))
    vector = client(program).embeddings.create(model="tiny-t5", input="a fish").data[0].embedding

    assert answer.usage.completion_tokens > 0
    assert chunks[-2].choices[0].finish_reason in {"length", "stop"}
    assert len(vector) == 64
    with pytest.raises(openai.BadRequestError, match="has no chat template"):
        client(program).chat.completions.create(model="tiny-t5", **HELLO)


def test_a_template_of_ones_own_is_rendered_in_a_sandbox(run, checkpoints):
    """It sees the messages; what reaches for Python's insides is refused, and the engine goes on."""
    own = "{{ messages[-1].content }}{% if messages[-1].content == 'break out' %}{{ ''.__class__.__mro__ }}{% endif %}"
    program = run("transformers", folders=[checkpoints], settings=settings("tiny-llama", chat_template=own))
    ask = client(program).chat.completions.create

    plain = ask(model="tiny-llama", messages=[{"role": "user", "content": "Hello"}], max_tokens=2)
    assert (
        plain.usage.prompt_tokens
        == client(program).completions.create(model="tiny-llama", prompt="Hello", max_tokens=2).usage.prompt_tokens
    )
    with pytest.raises(openai.BadRequestError, match="chat template refuses"):
        ask(model="tiny-llama", messages=[{"role": "user", "content": "break out"}], max_tokens=2)
    with pytest.raises(openai.BadRequestError, match="no images"):
        ask(
            model="tiny-llama",
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"chat_template": "{% for %}"}, "The chat template has a fault in line 1"),
        ({"folder": "missing"}, "There is no missing in"),
        ({"folder": "remote"}, "contains custom code"),
    ],
)
def test_what_cannot_be_loaded_says_why(run, checkpoints, change, expected):
    """A checkpoint with code of its own among them: the code is never run."""
    remote = checkpoints / "remote"
    if not remote.exists():
        remote.mkdir()
        remote.joinpath("model.safetensors").write_bytes((checkpoints / "tiny-t5" / "model.safetensors").read_bytes())
        remote.joinpath("evil.py").write_text("raise SystemExit('the code was run')\n")
        config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
        remote.joinpath("config.json").write_text(json.dumps(config))

    program = run("transformers", "failed", folders=[checkpoints], settings=settings("tiny-llama", **change))

    reason = program.reports[-1]["reason"]
    assert expected in reason
    assert "the code was run" not in f"{reason} {program.said}"
    assert program.process.wait(30) == HOPELESS


FAKE = "langchain_core.language_models.fake_chat_models:FakeListChatModel"
LLM = "langchain_core.language_models.fake:FakeListLLM"
EMBEDDINGS = "langchain_core.embeddings.fake:DeterministicFakeEmbedding"


def langchain(name: str, **more: Any) -> dict[str, Any]:
    told = {"class_name": name, "model_id": "chain", "at_once": 2, **more}
    return {"settings": told, "classes": [name]}


@pytest.mark.proves(kind="langchain", mode="chat", by="real peer")
def test_a_langchain_chat_model_answers_and_streams(run):
    program = run("langchain", **langchain(FAKE, arguments={"responses": '["Grüße, fish."]'}))
    ask = client(program).chat.completions.create

    assert ask(model="chain", **HELLO).choices[0].message.content == "Grüße, fish."
    chunks = list(ask(model="chain", **HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Grüße, fish."
    assert len(chunks) > 5
    with pytest.raises(openai.BadRequestError, match="does not embed"):
        client(program).embeddings.create(model="chain", input="a")


@pytest.mark.proves(kind="langchain", mode="completion", by="real peer")
def test_a_langchain_llm_completes_and_chats(run):
    program = run("langchain", **langchain(LLM, arguments={"responses": '["blub"]'}))

    assert client(program).completions.create(model="chain", prompt="Hello").choices[0].text == "blub"
    assert client(program).chat.completions.create(model="chain", **HELLO).choices[0].message.content == "blub"


@pytest.mark.proves(kind="langchain", mode="embedding", by="real peer")
def test_langchain_embeddings_embed(run):
    program = run("langchain", **langchain(EMBEDDINGS, arguments={"size": "8"}))

    vectors = client(program).embeddings.create(model="chain", input=["a", "b"]).data

    assert [len(one.embedding) for one in vectors] == [8, 8]


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("langchain_core.prompts:ChatPromptTemplate", {}, "is neither a chat model nor an LLM nor an embedding class"),
        (EMBEDDINGS, {"arguments": {"size": "secret-canary"}}, "size: Input should be a valid integer"),
        (FAKE, {}, "responses: Field required"),
    ],
)
def test_a_langchain_class_that_does_not_fit_says_why_without_values(run, name, more, expected):
    program = run("langchain", "failed", **langchain(name, **more))

    assert expected in program.reports[-1]["reason"]
    assert "secret-canary" not in program.reports[-1]["reason"]
