"""Meta's Llama API, in its native wire: one message and metrics in an answer, events in a stream."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connections.providers import problems, wire
from connections.providers.bearer import BearerDialect, BearerSettings, own_address
from connections.providers.calls import JSON, Answer, Call, Frame, Mode, ModelInfo, Reply, Target, Usage
from connections.providers.contract import EventReader
from connections.providers.fields import OpenAIUrl
from connections.providers.openai_dialect import Quirks
from connections.providers.parameters import ParameterTable
from connections.providers.streams import StreamReader

COUNTS = ("num_prompt_tokens", "num_completion_tokens")
"""The metrics that count tokens."""
SEES = frozenset({"tools", "json_schema", "system", "vision"})
READS = frozenset({"tools", "json_schema", "system"})


class MetaLlama(BearerDialect):
    kind = "meta_llama"
    label = "Meta Llama API"
    summary = "Llama models at Meta. A preview: by invitation only."
    mark = "meta_llama"
    docs_url = "https://llama.developer.meta.com"
    modes = frozenset({Mode.CHAT})
    parameters = ParameterTable.of(
        *("temperature", "top_p", "top_k", "repetition_penalty", "max_completion_tokens", "tools", "tool_choice"),
        *("response_format", "user"),
    )
    takes_stream_options = False
    price_provider = "meta"
    catalogue = (
        ModelInfo("Llama-4-Maverick-17B-128E-Instruct-FP8", family="llama", context=128_000, capabilities=SEES),
        ModelInfo("Llama-4-Scout-17B-16E-Instruct-FP8", family="llama", context=128_000, capabilities=SEES),
        ModelInfo("Llama-3.3-70B-Instruct", family="llama", context=128_000, capabilities=READS),
        ModelInfo("Llama-3.3-8B-Instruct", family="llama", context=128_000, capabilities=READS),
    )

    class Settings(BearerSettings):
        base_url: OpenAIUrl = own_address("https://api.llama.com/v1")

    settings: Settings

    def quirks(self, target: Target) -> Quirks:
        return Quirks(max_tokens="max_completion_tokens")

    def body(self, call: Call) -> JSON:
        """Tool results and pictures are written as at OpenAI; a message's text may not be missing."""
        body = super().body(call)
        body["messages"] = [_message(message) for message in wire.plain(body["messages"])]
        return body

    def reply(self, call: Call, answer: Answer) -> Reply:
        return _reply(call, answer.body, self._secrets)

    def events(self, call: Call) -> EventReader:
        return Events(call, self._secrets)


def _message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if message.get("role") == "developer":
        return {**message, "role": "system"}
    return {**message, "content": ""} if message.get("content") is None else message


class _Metric(msgspec.Struct):
    metric: str
    value: float = 0


class _Whole(msgspec.Struct):
    completion_message: dict[str, Any] | None = None
    metrics: list[_Metric] | None = None
    id: str | None = None
    error: Any = None


class _Event(msgspec.Struct):
    event_type: str = ""
    delta: dict[str, Any] | None = None
    stop_reason: str | None = None
    metrics: list[_Metric] | None = None


class _Frame(msgspec.Struct):
    event: _Event | None = None
    id: str | None = None
    error: Any = None


_WHOLE = msgspec.json.Decoder(_Whole)
_FRAME = msgspec.json.Decoder(_Frame)


def _reply(call: Call, body: bytes, secrets: Sequence[str]) -> Reply:
    whole = wire.decode(_WHOLE, body, secrets)
    if whole.error:
        raise problems.inside(wire.decode(wire.ANY, body, secrets), secrets)
    if not whole.completion_message:
        raise problems.unreadable(body, secrets)
    said, model = whole.completion_message, call.target.upstream_id
    message: JSON = {"role": "assistant", "content": _text(said.get("content"))}
    if isinstance(said.get("tool_calls"), list) and said["tool_calls"]:
        message["tool_calls"] = [{"type": "function", **one} for one in said["tool_calls"] if isinstance(one, dict)]
    reason = said.get("stop_reason")
    finish = reason if isinstance(reason, str) and reason else "tool_calls" if "tool_calls" in message else "stop"
    usage = _usage(whole.metrics)
    content: JSON = {"id": whole.id, "object": "chat.completion", "model": model}
    content["choices"] = [{"index": 0, "message": message, "finish_reason": finish}]
    return Reply(wire.encode({**content, "usage": usage.as_openai()}), usage, finish, model)


def _text(content: Any) -> str | None:
    """A text, or an object that holds one."""
    found = content.get("text") if isinstance(content, dict) else content
    return found if isinstance(found, str) else None


def _usage(metrics: Sequence[_Metric] | None) -> Usage:
    told = {one.metric: int(one.value) for one in metrics or ()}
    return wire.usage(*(told.get(name) for name in COUNTS))


class Events(StreamReader):
    """`start`, `progress`, `complete` and `metrics`: pieces of text or of one tool call after the other."""

    def __init__(self, call: Call, secrets: Sequence[str]) -> None:
        super().__init__(secrets, call.wants_usage)
        self.model = call.target.upstream_id
        self._id: str | None = None
        self._place = -1
        """Of the tool call at hand."""

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done or frame.data == b"[DONE]":
            return ()
        part = wire.decode(_FRAME, frame.data, self._secrets)
        if part.error or frame.event == "error":
            raise problems.inside(wire.decode(wire.ANY, frame.data, self._secrets), self._secrets)
        self._id = self._id or part.id
        return self._read(part.event) if part.event else ()

    def _read(self, event: _Event) -> Sequence[bytes]:
        if event.event_type == "metrics":
            return self._count(event)
        chunks = []
        if delta := self._delta(event.delta or {}):
            self._heard = True
            chunks.append(self._chunk(delta, None))
        if event.stop_reason and not self.finish_reason:
            self._heard, self.finish_reason = True, event.stop_reason
            chunks.append(self._chunk({}, event.stop_reason))
        return chunks

    def _delta(self, delta: Mapping[str, Any]) -> JSON:
        if delta.get("type") == "tool_call":
            return {"tool_calls": [self._tool_call(delta)]}
        text = delta.get("text")
        return {"content": text} if isinstance(text, str) and text else {}

    def _tool_call(self, delta: Mapping[str, Any]) -> JSON:
        """A name or an id begins the next call; what follows are its arguments."""
        function = delta.get("function")
        function = function if isinstance(function, dict) else {}
        begins = delta.get("id") or function.get("name")
        self._place = max(self._place + (1 if begins else 0), 0)
        told = {name: function[name] for name in ("name", "arguments") if isinstance(function.get(name), str)}
        head = {"id": delta.get("id") or f"call_{self._place}", "type": "function"} if begins else {}
        return {"index": self._place, **head, "function": told}

    def _count(self, event: _Event) -> Sequence[bytes]:
        self.usage = _usage(event.metrics)
        if not self._wants_usage:
            return ()
        head: JSON = {"id": self._id, "object": "chat.completion.chunk", "model": self.model, "choices": []}
        return (wire.encode({**head, "usage": self.usage.as_openai()}),)

    def _chunk(self, delta: JSON, finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return wire.encode(
            {"id": self._id, "object": "chat.completion.chunk", "model": self.model, "choices": [choice]}
        )

    def end(self) -> Sequence[bytes]:
        self._check_end()
        return ()
