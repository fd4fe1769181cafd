"""A checkpoint through vLLM's asynchronous engine. Needs a graphics processor that vLLM knows."""

import asyncio
import queue
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from connections.engines import folders
from connections.engines.progress import watched
from connections.engines.serving import LOOK_EVERY, ClientLeft
from connections.engines.shapes import JSON, Asked, Backend, Piece, number, stops
from connections.engines.templates import ChatTemplate
from connections.engines.told import Given, Missing, Refused, Report

NUMBERS = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "repetition_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "seed": int,
    "n": int,
}
LONGEST_ANSWER = 512
"""Tokens, where the caller names no limit."""


def backend(given: Given) -> Backend:
    return VLLMBackend(given)


class VLLMBackend(Backend):
    """vLLM lives on an event loop of its own; the requests' threads only listen."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.id = str(given.settings["model_id"])
        self.at_once = int(given.settings["at_once"])
        self.loop = asyncio.new_event_loop()

    def load(self, report: Report) -> None:
        path = folders.checkpoint(str(self.given.settings["folder"]), self.given.folders)
        try:
            import vllm  # noqa: PLC0415 - gigabytes, and not always installed
            from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415 - likewise
        except ImportError as error:
            raise Missing(
                f"{error.name} is not installed where engines run. Install it: make engines ENGINES=vllm"
            ) from error
        report(10)
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.vllm, settings = vllm, self.given.settings
        options = vllm.AsyncEngineArgs(
            model=str(path),
            load_format="safetensors",
            trust_remote_code=False,
            dtype=settings["dtype"],
            gpu_memory_utilization=settings["gpu_memory"],
            tensor_parallel_size=settings["gpus"],
            **({"max_model_len": settings["context"]} if settings.get("context") else {}),
        )
        with watched(folders.size(path), report):
            self.engine = self._done(_later(AsyncLLM.from_engine_args, options))
            tokenizer = self._done(self.engine.get_tokenizer())
        source = settings.get("chat_template") or tokenizer.chat_template
        tokens = {name: getattr(tokenizer, name, None) or "" for name in ("bos_token", "eos_token")}
        self.template = ChatTemplate(source, **tokens) if isinstance(source, str) else None

    def _done(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def models(self) -> list[JSON]:
        return [{"id": self.id}]

    def generate(self, asked: Asked) -> Iterator[Piece]:
        prompt, options = self._prompt(asked), self._options(asked.body)
        pieces: queue.Queue[Any] = queue.Queue()
        work = asyncio.run_coroutine_threadsafe(self._listen(prompt, options, pieces), self.loop)
        asked.completion_tokens = 0
        try:
            while (output := _next(pieces, asked)) is not None:
                asked.prompt_tokens = len(output.prompt_token_ids or [])
                for one in output.outputs:
                    asked.completion_tokens += len(one.token_ids)
                    yield Piece(one.text, one.finish_reason or "", one.index)
        finally:
            work.cancel()  # vLLM then drops the request

    async def _listen(self, prompt: str, options: Any, pieces: "queue.Queue[Any]") -> None:
        try:
            async for output in self.engine.generate(prompt, options, uuid.uuid4().hex):
                pieces.put(output)
            pieces.put(None)
        except Exception as error:
            pieces.put(error)

    def _prompt(self, asked: Asked) -> str:
        if asked.kind != "chat" or "prompt" in asked.body:
            return asked.prompt
        if self.template is None:
            raise Refused("This checkpoint has no chat template. Give the model a prompt format, or use completions.")
        return self.template.render(asked.messages)

    def _options(self, body: JSON) -> Any:
        found = {name: value for name, kind in NUMBERS.items() if (value := number(body, name, kind)) is not None}
        longest = number(body, "max_tokens", int) or LONGEST_ANSWER
        kind = self.vllm.sampling_params.RequestOutputKind.DELTA
        try:
            return self.vllm.SamplingParams(max_tokens=longest, stop=stops(body), output_kind=kind, **found)
        except ValueError as error:
            raise Refused(str(error)[:300]) from None


def _next(pieces: "queue.Queue[Any]", asked: Asked) -> Any:
    """The next output; None: that was all. Looks now and then whether anybody still waits."""
    while True:
        try:
            output = pieces.get(timeout=LOOK_EVERY)
        except queue.Empty:
            if asked.left():
                raise ClientLeft from None
            continue
        if isinstance(output, ValueError):
            raise Refused(str(output)[:300])
        if isinstance(output, Exception):
            raise output
        return output


async def _later(function: Any, *arguments: Any) -> Any:
    """Some constructors must run on the loop itself."""
    return function(*arguments)
