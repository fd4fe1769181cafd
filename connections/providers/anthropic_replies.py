"""From Anthropic's messages and events to OpenAI's completions and chunks."""

from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers import problems, wire
from connections.providers.calls import JSON, Frame, Reply, Usage
from connections.providers.shapes import BlockReader, chat_reply, decoded, mapping, mappings, place_of, string

NOT_TOLD = Usage()
FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def completion(body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
    """A whole message as a whole chat completion. `told`: the usage of one that tells none itself."""
    message = decoded(body, secrets)
    if not isinstance(message.get("content"), list):
        raise problems.unreadable(body, secrets)
    usage = told if message.get("usage") is None else usage_of(message["usage"])
    finish = finish_of(message.get("stop_reason"))
    model, name = string(message, "model"), string(message, "id")
    return chat_reply(_message(mappings(message["content"])), finish, usage, model=model, name=name)


def finish_of(reason: Any) -> str:
    return FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"


def usage_of(usage: Any) -> Usage:
    """Anthropic's input tokens leave out what the cache read or wrote; OpenAI's include it."""
    if not isinstance(usage, dict):
        return Usage(suspect=usage is not None)
    details = mapping(usage.get("output_tokens_details"))
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


def _message(blocks: list[Mapping[str, Any]]) -> JSON:
    text = "".join(string(block, "text") for block in blocks if block.get("type") == "text")
    thoughts = "".join(string(block, "thinking") for block in blocks if block.get("type") == "thinking")
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    message: JSON = {"content": None if calls and not text else text}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def _tool_call(block: Mapping[str, Any]) -> JSON:
    arguments = wire.encode(block.get("input") or {}).decode()
    function = {"name": string(block, "name"), "arguments": arguments}
    return {"id": string(block, "id"), "type": "function", "function": function}


class MessageReader(BlockReader):
    """One stream of named events as a stream of chunks."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._counts: JSON = {}

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done:
            return ()
        event = mapping(wire.decode(wire.ANY, frame.data, self._secrets))
        kind = event.get("type")
        if kind == "error" or frame.event == "error":
            raise problems.inside(event, self._secrets)
        match kind:
            case "content_block_delta":
                return self._goes_on(place_of(event), mapping(event.get("delta")))
            case "content_block_start":
                return self._begins(place_of(event), mapping(event.get("content_block")))
            case "content_block_stop":
                return self._tool_ends(place_of(event))
            case "message_start":
                return self._start(mapping(event.get("message")))
            case "message_delta":
                return self._stop(mapping(event.get("delta")), event.get("usage"))
            case "message_stop":
                self._done = True
        return ()

    def _start(self, message: Mapping[str, Any]) -> Sequence[bytes]:
        self.model, self._name = string(message, "model"), string(message, "id")
        usage = message.get("usage")
        self._count({**usage, "output_tokens": None} if isinstance(usage, dict) else usage)  # a placeholder so far
        return [self._delta(role="assistant", content="")]

    def _begins(self, block: int, content: Mapping[str, Any]) -> Sequence[bytes]:
        if content.get("type") == "tool_use":
            return self._tool_begins(block, string(content, "id"), string(content, "name"))
        return self._text(string(content, "text"))

    def _goes_on(self, block: int, delta: Mapping[str, Any]) -> Sequence[bytes]:
        match delta.get("type"):
            case "text_delta":
                return self._text(string(delta, "text"))
            case "thinking_delta":
                return self._text(string(delta, "thinking"), name="reasoning_content")
            case "input_json_delta":
                return self._tool_goes_on(block, string(delta, "partial_json"))
        return ()

    def _stop(self, delta: Mapping[str, Any], usage: Any) -> Sequence[bytes]:
        self._count(usage)
        if self.finish_reason or not delta.get("stop_reason"):
            return ()
        return self._finish(finish_of(delta["stop_reason"]))

    def _count(self, usage: Any) -> None:
        """Counts are sums so far, so the last of each holds."""
        self._counts.update({name: value for name, value in mapping(usage).items() if value is not None})
        self.usage = usage_of(self._counts or usage)
