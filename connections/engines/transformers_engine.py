"""A checkpoint in a local folder, through Hugging Face's transformers: causal or sequence to sequence."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connections.engines import folders
from connections.engines.progress import watched
from connections.engines.serving import ClientLeft
from connections.engines.shapes import JSON, Asked, Backend, Piece, UntilStop, number, stops
from connections.engines.templates import ChatTemplate
from connections.engines.told import Given, Missing, Refused, Report

LONGEST_ANSWER = 512
"""Tokens, where the caller names no limit."""
NUMBERS = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "repetition_penalty": float,
    "typical_p": float,
    "no_repeat_ngram_size": int,
    "num_beams": int,
    "length_penalty": float,
}
"""What `generate` takes under the same name."""


def backend(given: Given) -> Backend:
    return TransformersBackend(given)


class TransformersBackend(Backend):
    """All requests take turns: `generate` shares the random numbers and the processor."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.id = str(given.settings["model_id"])

    def load(self, report: Report) -> None:
        path = folders.checkpoint(str(self.given.settings["folder"]), self.given.folders)
        try:
            import torch  # noqa: PLC0415 - hundreds of megabytes, and not always installed
            import transformers  # noqa: PLC0415 - likewise
        except ImportError as error:
            raise Missing(f"{error.name} is not installed where engines run. Install it: make engines") from error
        report(8)
        self.torch, self.transformers = torch, transformers
        closed = {"trust_remote_code": False, "local_files_only": True}
        config = transformers.AutoConfig.from_pretrained(path, **closed)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(path, **closed)
        self.translates = bool(config.is_encoder_decoder)
        self.context = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
        self.template = self._template()
        self.model = self._model(path, report, closed)

    def _model(self, path: Path, report: Report, closed: dict[str, Any]) -> Any:
        transformers, torch = self.transformers, self.torch
        kind = transformers.AutoModelForSeq2SeqLM if self.translates else transformers.AutoModelForCausalLM
        dtype = self.given.settings.get("dtype", "auto")
        with watched(folders.size(path), report):
            model = kind.from_pretrained(
                path, dtype=dtype if dtype == "auto" else getattr(torch, dtype), use_safetensors=True, **closed
            )
            return model.to(self._device()).eval()

    def _device(self) -> str:
        wanted = str(self.given.settings.get("device", "auto"))
        if wanted != "auto":
            return wanted
        return "cuda" if self.torch.cuda.is_available() else "cpu"

    def _template(self) -> ChatTemplate | None:
        source = self.given.settings.get("chat_template") or self.tokenizer.chat_template
        if isinstance(source, dict):
            source = source.get("default")
        tokens = {name: str(text) for name, text in self.tokenizer.special_tokens_map.items() if isinstance(text, str)}
        return ChatTemplate(source, **{"bos_token": "", "eos_token": "", **tokens}) if source else None

    def models(self) -> list[JSON]:
        return [{"id": self.id, **({"context_length": self.context} if self.context else {})}]

    # --- text ---

    def generate(self, asked: Asked) -> Iterator[Piece]:
        inputs = self._tokens(asked)
        asked.prompt_tokens, asked.completion_tokens = int(inputs["input_ids"].shape[1]), 0
        options = self._options(asked)
        until = UntilStop(stops(asked.body))
        run = _Run(self, inputs, options, asked)
        try:
            for text in run.streamer:
                if passed := until.feed(text):
                    yield Piece(passed)
                if until.met:
                    break
        finally:
            run.stop()
        if run.error is not None:
            raise run.error
        if asked.left():
            raise ClientLeft
        if rest := until.end():
            yield Piece(rest)
        cut = not until.met and not run.finished and asked.completion_tokens >= options["max_new_tokens"]
        yield Piece(finish="length" if cut else "stop")

    def _tokens(self, asked: Asked) -> Any:
        text, templated = self._text(asked)
        inputs = self.tokenizer(text, return_tensors="pt", add_special_tokens=not templated)
        inputs.pop("token_type_ids", None)
        if self.context and not self.translates and inputs["input_ids"].shape[1] >= self.context:
            raise _too_long(int(inputs["input_ids"].shape[1]), self.context)
        return inputs.to(self.model.device)

    def _text(self, asked: Asked) -> tuple[str, bool]:
        """What the model reads, and whether a template has written it, special tokens and all."""
        if asked.kind != "chat" or "prompt" in asked.body:
            return asked.prompt, False
        if self.template is None:
            raise Refused("This checkpoint has no chat template. Give the model a prompt format, or use completions.")
        return self.template.render(asked.messages), True

    def _options(self, asked: Asked) -> dict[str, Any]:
        body = asked.body
        found = {name: value for name, kind in NUMBERS.items() if (value := number(body, name, kind)) is not None}
        if found.get("temperature") == 0:
            found = {name: value for name, value in found.items() if name not in {"temperature", "top_p", "top_k"}}
        else:
            found["do_sample"] = "num_beams" not in found
        longest = number(body, "max_tokens", int) or LONGEST_ANSWER
        room = self.context - (asked.prompt_tokens or 0) if self.context and not self.translates else longest
        if (seed := number(body, "seed", int)) is not None:
            self.torch.manual_seed(seed % 2**63)
        return {"do_sample": False, **found, "max_new_tokens": max(1, min(longest, room))}

    # --- embeddings ---

    def embed(self, asked: Asked) -> list[list[float]]:
        """The mean of the last hidden states, one text after the other so that none is padded."""
        asked.prompt_tokens = asked.completion_tokens = 0
        return [self._embedded(text, asked) for text in asked.inputs]

    def _embedded(self, text: str, asked: Asked) -> list[float]:
        inputs = self.tokenizer(text or " ", return_tensors="pt").to(self.model.device)
        inputs.pop("token_type_ids", None)
        count = int(inputs["input_ids"].shape[1])
        if self.context and count > self.context:
            raise _too_long(count, self.context)
        asked.prompt_tokens = (asked.prompt_tokens or 0) + count
        encoder = self.model.get_encoder() if self.translates else self.model.base_model
        with self.torch.inference_mode():
            states = encoder(**inputs).last_hidden_state[0]
        return [float(value) for value in states.float().mean(dim=0)]


class _Run:
    """One `generate` in a thread of its own, whose text arrives in `streamer`."""

    def __init__(self, backend: TransformersBackend, inputs: Any, options: dict[str, Any], asked: Asked) -> None:
        transformers = backend.transformers
        self.error: Exception | None = None
        self.finished = False
        """Whether the model itself ended its answer."""
        self.streamer = transformers.TextIteratorStreamer(
            backend.tokenizer, skip_prompt=not backend.translates, skip_special_tokens=True
        )
        self._over = threading.Event()
        self._backend, self._asked = backend, asked
        self._ends = _as_set(backend.model.generation_config.eos_token_id)
        begun = 1 if backend.translates else int(inputs["input_ids"].shape[1])
        streams = {} if options.get("num_beams", 1) > 1 else {"streamer": self.streamer}
        call = {**inputs, **options, **streams, "stopping_criteria": [self._criterion(begun)]}
        self._thread = threading.Thread(target=self._work, args=[call], daemon=True)
        self._thread.start()

    def _criterion(self, begun: int) -> Any:
        torch = self._backend.torch

        def look(ids: Any, scores: Any, **_: Any) -> Any:
            self._asked.completion_tokens = int(ids.shape[1]) - begun
            self.finished = int(ids[0, -1]) in self._ends
            over = self._over.is_set() or self._asked.left()
            return torch.full((ids.shape[0],), over, dtype=torch.bool, device=ids.device)

        return look

    def _work(self, call: dict[str, Any]) -> None:
        """Everything must come to an end for whoever reads the streamer, errors too."""
        try:
            with self._backend.torch.inference_mode():
                written = self._backend.model.generate(**call)
            if "streamer" not in call:  # beams are known only at the end
                begun = 0 if self._backend.translates else call["input_ids"].shape[1]
                text = self._backend.tokenizer.decode(written[0][begun:], skip_special_tokens=True)
                self.streamer.on_finalized_text(text)
        except Exception as error:
            self.error = error
        finally:
            self.streamer.on_finalized_text("", stream_end=True)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def _as_set(ids: Any) -> set[int]:
    return set(ids) if isinstance(ids, list) else {ids} if ids is not None else set()


def _too_long(count: int, context: int) -> Refused:
    return Refused(f"The prompt has {count} tokens; the model takes {context}.", "context_length_exceeded")
