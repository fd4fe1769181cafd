"""vLLM's engine by its interface alone: it needs a graphics processor, so a stand-in of the library takes its place."""

import time

import openai
import pytest
from openai import OpenAI

from tests.engines.programs import KEY, given

STAND_IN = {
    "__init__.py": """
        from dataclasses import dataclass
        from vllm import sampling_params

        @dataclass
        class AsyncEngineArgs:
            model: str
            load_format: str
            trust_remote_code: bool
            dtype: str
            gpu_memory_utilization: float
            tensor_parallel_size: int
            max_model_len: int = 0

        class SamplingParams:
            def __init__(self, max_tokens, stop, output_kind, n=1, **more):
                if more.get("top_p", 1) > 1:
                    raise ValueError("top_p must be in (0, 1]")
                self.max_tokens, self.stop, self.n, self.more = max_tokens, stop, n, more
    """,
    "sampling_params.py": "class RequestOutputKind:\n    DELTA = 1\n",
    "v1/__init__.py": "",
    "v1/engine/__init__.py": "",
    "v1/engine/async_llm.py": """
        import asyncio
        from pathlib import Path
        from types import SimpleNamespace as Told

        class AsyncLLM:
            @classmethod
            def from_engine_args(cls, args):
                asyncio.get_running_loop()  # as the real one, it must be made on the loop
                assert args.load_format == "safetensors" and args.trust_remote_code is False
                made = cls()
                made.folder = Path(args.model)
                return made

            async def get_tokenizer(self):
                return Told(chat_template=None, bos_token="<s>", eos_token="</s>")

            async def generate(self, prompt, params, request_id):
                try:
                    for step in range(params.max_tokens):
                        await asyncio.sleep(0.001)
                        last = step + 1 == params.max_tokens
                        outputs = [
                            Told(index=index, text=f"{prompt}{step} ", token_ids=[step],
                                 finish_reason="length" if last else None)
                            for index in range(params.n)
                        ]
                        yield Told(prompt_token_ids=[1, 2, 3], outputs=outputs)
                finally:
                    (self.folder / f"ended-after-{step + 1}").touch()
    """,
}


@pytest.fixture
def program(start, tmp_path):
    import textwrap

    for name, text in STAND_IN.items():
        path = tmp_path / "packages" / "vllm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"1234")
    settings = {"folder": "tiny", "model_id": "tiny", "dtype": "auto", "gpus": 1, "gpu_memory": 0.9, "at_once": 2}
    told = given("vllm", folders=[tmp_path / "models"], settings={**settings, "context": 64, "chat_template": ""})
    program = start(told, tmp_path / "packages")
    program.wait_for("running")
    return program


def test_it_completes_whole_and_streamed(program):
    ask = OpenAI(base_url=f"{program.url}/v1", api_key=KEY, max_retries=0).completions.create

    whole = ask(model="tiny", prompt="a", max_tokens=3, n=2, temperature=0.5)
    chunks = list(ask(model="tiny", prompt="a", max_tokens=3, stream=True))

    assert [choice.text for choice in whole.choices] == ["a0 a1 a2 "] * 2
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3, 6)
    assert [chunk.choices[0].text for chunk in chunks[:3]] == ["a0 ", "a1 ", "a2 "]
    assert (chunks[3].choices[0].finish_reason, chunks[-1].usage.completion_tokens) == ("length", 3)


def test_what_vllm_refuses_is_refused(program):
    client = OpenAI(base_url=f"{program.url}/v1", api_key=KEY, max_retries=0)

    with pytest.raises(openai.BadRequestError, match="must be a number"):
        client.completions.create(model="tiny", prompt="a", extra_body={"top_p": "high"})
    with pytest.raises(openai.BadRequestError, match="has no chat template"):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "a"}])
    with pytest.raises(openai.BadRequestError, match=r"top_p must be in"):
        client.completions.create(model="tiny", prompt="a", top_p=1.5)


def test_a_client_that_leaves_cancels_the_request(program, tmp_path):
    client = OpenAI(base_url=f"{program.url}/v1", api_key=KEY, max_retries=0)

    with client.completions.create(model="tiny", prompt="a", max_tokens=10**6, stream=True) as stream:
        next(iter(stream))

    deadline = time.monotonic() + 60
    while not list((tmp_path / "models" / "tiny").glob("ended-after-*")):
        assert time.monotonic() < deadline, "vLLM was not told"
        time.sleep(0.02)
