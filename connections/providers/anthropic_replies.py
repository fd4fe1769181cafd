"""From Anthropic's messages and events to OpenAI's completions and chunks."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers import problems, wire
from connections.providers.calls import JSON, Frame, Reply, Usage
from connections.providers.streams import StreamReader

FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def completion(body: bytes, secrets: Sequence[str]) -> Reply:
    """A whole message as a whole chat completion."""
    message = _mapping(wire.decode(wire.ANY, body, secrets))
    if message.get("error"):
        raise problems.inside(message, secrets)
    blocks = message.get("content")
    if not isinstance(blocks, list):
        raise problems.unreadable(body, secrets)
    usage, finish = usage_of(message.get("usage")), finish_of(message.get("stop_reason"))
    whole = _envelope("chat.completion", message)
    choice = {"index": 0, "message": _message(list(map(_mapping, blocks))), "logprobs": None, "finish_reason": finish}
    return Reply(wire.encode({**whole, "choices": [choice], "usage": usage.as_openai()}), usage, finish, whole["model"])


def finish_of(reason: Any) -> str:
    return FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"


def usage_of(usage: Any) -> Usage:
    """Anthropic's input tokens leave out what the cache read or wrote; OpenAI's include it."""
    if not isinstance(usage, dict):
        return Usage(suspect=usage is not None)
    details = _mapping(usage.get("output_tokens_details"))
    given, given_suspect = wire.count(usage.get("input_tokens"))
    read, read_suspect = wire.count(usage.get("cache_read_input_tokens"))
    written, written_suspect = wire.count(usage.get("cache_creation_input_tokens"))
    prompt = None if given is None else given + (read or 0) + (written or 0)
    return wire.usage(
        prompt,
        usage.get("output_tokens"),
        cached=read,
        cache_write=written,
        reasoning=details.get("thinking_tokens"),
        suspect=given_suspect or read_suspect or written_suspect,
    )


def _envelope(kind: str, message: Mapping[str, Any]) -> JSON:
    return {
        "id": _string(message, "id") or "chatcmpl-unnamed",
        "object": kind,
        "created": int(time.time()),
        "model": _string(message, "model"),
    }


def _message(blocks: list[Mapping[str, Any]]) -> JSON:
    text = "".join(_string(block, "text") for block in blocks if block.get("type") == "text")
    thoughts = "".join(_string(block, "thinking") for block in blocks if block.get("type") == "thinking")
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    message: JSON = {"role": "assistant", "content": None if calls and not text else text, "refusal": None}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def _tool_call(block: Mapping[str, Any]) -> JSON:
    arguments = wire.encode(block.get("input") or {}).decode()
    function = {"name": _string(block, "name"), "arguments": arguments}
    return {"id": _string(block, "id"), "type": "function", "function": function}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _place(event: Mapping[str, Any]) -> int:
    """The number of the content block that an event is about."""
    index = event.get("index")
    return index if isinstance(index, int) else -1


class MessageReader(StreamReader):
    """One stream of named events as a stream of chunks."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._counts: JSON = {}
        self._envelope: JSON = _envelope("chat.completion.chunk", {})
        self._tools: dict[int, int] = {}
        self._without_arguments: set[int] = set()

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done:
            return ()
        event = _mapping(wire.decode(wire.ANY, frame.data, self._secrets))
        kind = event.get("type")
        if kind == "error" or frame.event == "error":
            raise problems.inside(event, self._secrets)
        match kind:
            case "content_block_delta":
                return self._delta(_place(event), _mapping(event.get("delta")))
            case "content_block_start":
                return self._block(_place(event), _mapping(event.get("content_block")))
            case "content_block_stop":
                return self._block_end(_place(event))
            case "message_start":
                return self._start(_mapping(event.get("message")))
            case "message_delta":
                return self._finish(_mapping(event.get("delta")), event.get("usage"))
            case "message_stop":
                self._done = True
        return ()

    def end(self) -> Sequence[bytes]:
        self._check_end()
        return self._usage_chunk() if self._wants_usage else ()

    def _start(self, message: Mapping[str, Any]) -> Sequence[bytes]:
        self.model = _string(message, "model")
        self._envelope = _envelope("chat.completion.chunk", message)
        usage = message.get("usage")
        self._count({**usage, "output_tokens": None} if isinstance(usage, dict) else usage)  # a placeholder so far
        return self._chunk({"role": "assistant", "content": ""})

    def _block(self, index: int, block: Mapping[str, Any]) -> Sequence[bytes]:
        self._heard = True
        if block.get("type") != "tool_use":
            return self._text("content", _string(block, "text"))
        self._tools[index] = len(self._tools)
        self._without_arguments.add(index)
        function = {"name": _string(block, "name"), "arguments": ""}
        return self._tool_call(index, {"id": _string(block, "id"), "type": "function", "function": function})

    def _delta(self, index: int, delta: Mapping[str, Any]) -> Sequence[bytes]:
        match delta.get("type"):
            case "text_delta":
                return self._text("content", _string(delta, "text"))
            case "thinking_delta":
                return self._text("reasoning_content", _string(delta, "thinking"))
            case "input_json_delta" if index in self._tools and _string(delta, "partial_json"):
                self._without_arguments.discard(index)
                return self._tool_call(index, {"function": {"arguments": _string(delta, "partial_json")}})
        return ()

    def _block_end(self, index: int) -> Sequence[bytes]:
        """A tool without arguments gets no part of them at all."""
        if index not in self._without_arguments:
            return ()
        self._without_arguments.discard(index)
        return self._tool_call(index, {"function": {"arguments": "{}"}})

    def _finish(self, delta: Mapping[str, Any], usage: Any) -> Sequence[bytes]:
        self._count(usage)
        if self.finish_reason or not delta.get("stop_reason"):
            return ()
        self._heard = True
        self.finish_reason = finish_of(delta["stop_reason"])
        return self._chunk({}, self.finish_reason)

    def _count(self, usage: Any) -> None:
        """Counts are sums so far, so the last of each holds."""
        self._counts.update({name: value for name, value in _mapping(usage).items() if value is not None})
        self.usage = usage_of(self._counts or usage)

    def _text(self, name: str, text: str) -> Sequence[bytes]:
        return self._chunk({name: text}) if text else ()

    def _tool_call(self, index: int, call: JSON) -> Sequence[bytes]:
        return self._chunk({"tool_calls": [{"index": self._tools[index], **call}]})

    def _chunk(self, delta: JSON, finish: str | None = None) -> Sequence[bytes]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return [wire.encode({**self._envelope, "choices": [choice]})]

    def _usage_chunk(self) -> Sequence[bytes]:
        return [wire.encode({**self._envelope, "choices": [], "usage": self.usage.as_openai()})]
