"""Answers and chunks in OpenAI's shape, for dialects that have to be translated."""

from collections.abc import Mapping, Sequence
from time import time
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from connections.providers import problems, wire
from connections.providers.calls import JSON, Mode, Reply, Usage
from connections.providers.streams import StreamReader

WHOLE: Mapping[Mode, str] = {Mode.CHAT: "chat.completion", Mode.COMPLETION: "text_completion"}
NOTHING: Mapping[str, Any] = MappingProxyType({})
PIECE: Mapping[Mode, str] = {Mode.CHAT: "chat.completion.chunk", Mode.COMPLETION: "text_completion"}


def mapping(value: Any) -> Mapping[str, Any]:
    """An object of the wire, empty where something else came."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list of the wire."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def decoded(body: bytes, secrets: Sequence[str]) -> Mapping[str, Any]:
    """A whole answer that must be an object. Raises BadReply, or what an error inside it amounts to."""
    content = wire.decode(wire.ANY, body, secrets)
    if not isinstance(content, dict):
        raise problems.unreadable(body, secrets)
    if content.get("error"):
        raise problems.inside(content, secrets)
    return content


def chat_reply(
    message: JSON, finish: str, usage: Usage, *, model: str = "", name: str = "", beside: Mapping[str, Any] = NOTHING
) -> Reply:
    """A chat's whole answer of one message. `beside`: what callers may read but could not send back within it."""
    whole = {"role": "assistant", "content": None, "refusal": None, **message}
    return _reply(Mode.CHAT, [{"message": whole, "finish_reason": finish, **beside}], usage, model, name)


def completion_reply(answers: Sequence[tuple[str, str]], usage: Usage, *, model: str = "", name: str = "") -> Reply:
    """A completion's whole answer: each text with the reason for its end."""
    choices = [{"text": text, "finish_reason": finish} for text, finish in answers]
    return _reply(Mode.COMPLETION, choices, usage, model, name)


def embedding_reply(vectors: Sequence[Sequence[float]], usage: Usage, *, model: str = "") -> Reply:
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    told = {"prompt_tokens": usage.prompt_tokens or 0, "total_tokens": usage.prompt_tokens or 0}
    return Reply(wire.encode({"object": "list", "data": data, "model": model, "usage": told}), usage, model=model)


def _reply(mode: Mode, choices: Sequence[JSON], usage: Usage, model: str, name: str) -> Reply:
    numbered = [{"index": index, "logprobs": None, **choice} for index, choice in enumerate(choices)]
    body = {**_envelope(WHOLE[mode], model, name), "choices": numbered, **_told(usage)}
    return Reply(wire.encode(body), usage, choices[-1]["finish_reason"], model)


def _told(usage: Usage) -> JSON:
    """Nothing where the provider told nothing: no tokens is not the same as none known."""
    known = usage.prompt_tokens is not None or usage.completion_tokens is not None
    return {"usage": usage.as_openai()} if known else {}


def _envelope(kind: str, model: str, name: str) -> JSON:
    return {"id": name or f"chatcmpl-{uuid4().hex}", "object": kind, "created": int(time()), "model": model}


class ShapedReader(StreamReader):
    """The base of readers that make the chunks themselves."""

    mode = Mode.CHAT

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._name = ""
        self._head: JSON = {}

    def end(self) -> Sequence[bytes]:
        self._check_end()
        told = _told(self.usage) if self._wants_usage else {}
        return [wire.encode({**self._envelope(), "choices": [], **told})] if told else []

    def _delta(self, finish: str | None = None, index: int = 0, **delta: Any) -> bytes:
        choice: JSON = {"delta": delta} if self.mode is Mode.CHAT else {"text": delta.get("content", "")}
        choice = {"index": index, **choice, "logprobs": None, "finish_reason": finish}
        return wire.encode({**self._envelope(), "choices": [choice]})

    def _text(self, text: str, index: int = 0, name: str = "content") -> list[bytes]:
        """Empty texts say nothing and are left out."""
        self._heard = True
        return [self._delta(None, index, **{name: text})] if text else []

    def _finish(self, reason: str, index: int = 0) -> list[bytes]:
        self._heard = True
        self.finish_reason = reason
        return [self._delta(reason, index)]

    def _envelope(self) -> JSON:
        """Made once, as every chunk of a stream carries the same."""
        if not self._head:
            self._head = _envelope(PIECE[self.mode], self.model, self._name)
        return self._head


class BlockReader(ShapedReader):
    """The base of readers whose stream numbers its blocks, each a text or the call of a tool."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._tools: dict[int, int] = {}
        """The blocks that are calls, and which call each of them is."""
        self._without_arguments: set[int] = set()

    def _tool_begins(self, block: int, name: str, called: str, arguments: str = "") -> list[bytes]:
        """`name`: of this call; `called`: of the tool."""
        self._heard = True
        self._tools[block] = len(self._tools)
        if not arguments:
            self._without_arguments.add(block)
        function = {"name": called, "arguments": arguments}
        return self._called(block, {"id": name, "type": "function", "function": function})

    def _tool_goes_on(self, block: int, arguments: str) -> list[bytes]:
        if block not in self._tools or not arguments:
            return []
        self._without_arguments.discard(block)
        return self._called(block, {"function": {"arguments": arguments}})

    def _tool_ends(self, block: int) -> list[bytes]:
        """A tool without arguments gets no part of them at all."""
        if block not in self._without_arguments:
            return []
        return self._tool_goes_on(block, "{}")

    def _called(self, block: int, call: JSON) -> list[bytes]:
        return [self._delta(tool_calls=[{"index": self._tools[block], **call}])]


def place_of(event: Mapping[str, Any], name: str = "index") -> int:
    """The number of the block that an event is about."""
    index = event.get(name)
    return index if isinstance(index, int) else -1
