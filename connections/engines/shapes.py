"""OpenAI's shapes around what an engine generates."""

import base64
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connections.engines.told import Refused, Report

JSON = dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """Some more of one answer; with `finish`, its last piece."""

    text: str = ""
    finish: str = ""
    choice: int = 0
    tool_calls: Sequence[JSON] = ()


@dataclass
class Asked:
    """One request, and what came of it beside the text."""

    kind: str
    """chat, completion or embedding"""
    body: JSON
    left: Callable[[], bool]
    """Whether the client is gone, so that going on is waste."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def messages(self) -> list[JSON]:
        found = self.body.get("messages")
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found) or not found:
            raise Refused("`messages` must be a list of messages.")
        return found

    @property
    def prompt(self) -> str:
        found = self.body.get("prompt")
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if not isinstance(found, str):
            raise Refused("`prompt` must be one text.")
        return found

    @property
    def inputs(self) -> list[str]:
        found = self.body.get("input")
        texts = [found] if isinstance(found, str) else found
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise Refused("`input` must be a text or a list of texts.")
        return texts

    @property
    def usage(self) -> JSON | None:
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class Backend:
    """One loaded model, or several. `generate` and `embed` are all that an engine must know to do."""

    at_once = 1
    """How many requests are answered side by side; the others wait."""

    def load(self, report: Report) -> None:
        raise NotImplementedError

    def models(self) -> list[JSON]:
        """As `/v1/models` lists them; each has at least `id`."""
        raise NotImplementedError

    def generate(self, asked: Asked) -> Iterator[Piece]:
        raise Refused("This model does not generate text.")

    def embed(self, asked: Asked) -> list[list[float]]:
        raise Refused("This model does not embed.")

    # --- in OpenAI's shapes ---

    def answer(self, asked: Asked) -> JSON:
        if asked.kind == "embedding":
            return _vectors(self.embed(asked), asked)
        return _whole(self.generate(asked), asked)

    def stream(self, asked: Asked) -> Iterator[JSON]:
        wrap = _chat_delta if asked.kind == "chat" else _text_delta
        head = _head(asked, "chat.completion.chunk" if asked.kind == "chat" else "text_completion")
        for piece in self.generate(asked):
            if piece.text or piece.tool_calls:
                yield {**head, "choices": [wrap(piece)]}
            if piece.finish:
                yield {**head, "choices": [{**wrap(Piece(choice=piece.choice)), "finish_reason": piece.finish}]}
        if asked.usage:
            yield {**head, "choices": [], "usage": asked.usage}


@dataclass
class _Choice:
    text: str = ""
    finish: str = "stop"
    tool_calls: list[JSON] = field(default_factory=list)


def _whole(pieces: Iterable[Piece], asked: Asked) -> JSON:
    choices: dict[int, _Choice] = {}
    for piece in pieces:
        choice = choices.setdefault(piece.choice, _Choice())
        choice.text += piece.text
        choice.finish = piece.finish or choice.finish
        choice.tool_calls += piece.tool_calls
    kind = "chat.completion" if asked.kind == "chat" else "text_completion"
    shape = _chat_choice if asked.kind == "chat" else _text_choice
    body = {**_head(asked, kind), "choices": [shape(index, choices[index]) for index in sorted(choices)]}
    return {**body, "usage": asked.usage} if asked.usage else body


def _head(asked: Asked, kind: str) -> JSON:
    prefix = "chatcmpl" if asked.kind == "chat" else "cmpl"
    model = asked.body.get("model", "")
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _chat_choice(index: int, choice: _Choice) -> JSON:
    message: JSON = {"role": "assistant", "content": choice.text}
    if choice.tool_calls:
        message["tool_calls"] = choice.tool_calls
    return {"index": index, "message": message, "finish_reason": choice.finish}


def _text_choice(index: int, choice: _Choice) -> JSON:
    return {"index": index, "text": choice.text, "finish_reason": choice.finish}


def _chat_delta(piece: Piece) -> JSON:
    delta: JSON = {"content": piece.text} if piece.text else {}
    if piece.tool_calls:
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(piece.tool_calls)]
    return {"index": piece.choice, "delta": delta, "finish_reason": None}


def _text_delta(piece: Piece) -> JSON:
    return {"index": piece.choice, "text": piece.text, "finish_reason": None}


def _vectors(vectors: Iterable[Sequence[float]], asked: Asked) -> JSON:
    packed = asked.body.get("encoding_format") == "base64"
    told = [_packed(one) if packed else list(one) for one in vectors]
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(told)]
    body: JSON = {"object": "list", "data": data, "model": asked.body.get("model", "")}
    return {**body, "usage": asked.usage} if asked.usage else body


def _packed(vector: Sequence[float]) -> str:
    """Four bytes each, the lowest first."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def number(body: Mapping[str, Any], name: str, kind: type[float] | type[int]) -> Any:
    """A parameter that must be a number; None: not given."""
    value = body.get(name)
    if value is None:
        return None
    fits = isinstance(value, int) or (kind is float and isinstance(value, float))
    if not fits or isinstance(value, bool):
        raise Refused(f"`{name}` must be {'a number' if kind is float else 'a whole number'}.")
    return value


def stops(body: Mapping[str, Any]) -> list[str]:
    given = body.get("stop") or []
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused("`stop` must be a text or a list of texts.")
    return [text for text in texts if text]


class UntilStop:
    """Passes text on until one of the stop texts, holding back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = stops
        self.held = ""
        self.met = False

    def feed(self, text: str) -> str:
        self.held += text
        found = [at for stop in self.stops if (at := self.held.find(stop)) >= 0]
        if found:
            self.met = True
            return self._passed(min(found))
        return self._passed(len(self.held) - max((self._begun(stop) for stop in self.stops), default=0))

    def end(self) -> str:
        return "" if self.met else self._passed(len(self.held))

    def _begun(self, stop: str) -> int:
        """How many characters at the end may be the stop text's beginning."""
        return next((size for size in range(len(stop) - 1, 0, -1) if self.held.endswith(stop[:size])), 0)

    def _passed(self, size: int) -> str:
        passed, self.held = self.held[:size], self.held[size:]
        return passed
