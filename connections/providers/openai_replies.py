"""OpenAI's completions, chunks and vectors: passed on as they came, and read only as far as metering needs.

Servers that copy the dialect have their habits; what a caller could stumble over is mended (`mended`).
"""

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from connections.providers import problems, wire
from connections.providers.calls import Frame, Reply, Usage
from connections.providers.streams import StreamReader

FINISH_REASONS: Mapping[str, str] = {
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
}
"""What other systems call the reasons for which an answer ends."""
REASONING_NAMES = ("reasoning", "thinking")
"""Other names of `reasoning_content`."""
_NOTHING = Raw(b"null")


class _Message(Struct):
    """A message or a delta: only as far as it may need mending. The text stays as it is."""

    content: Raw = _NOTHING
    tool_calls: Raw = _NOTHING
    reasoning: Raw = _NOTHING
    thinking: Raw = _NOTHING


class _Choice(Struct):
    finish_reason: Any = None
    message: _Message | None = None
    delta: _Message | None = None


class _Whole(Struct):
    """An answer or a chunk of a stream."""

    choices: list[_Choice] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None


class _Vectors(Struct):
    data: list[Raw] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None


_WHOLE = msgspec.json.Decoder(_Whole)
_VECTORS = msgspec.json.Decoder(_Vectors)


class ChunkReader(StreamReader):
    """Passes a stream's chunks on, and remembers what they tell about the call."""

    def feed(self, frame: Frame) -> Sequence[bytes]:
        data = frame.data
        if self._done:
            return ()
        if data == b"[DONE]":
            self._done = True
            return ()
        chunk = wire.decode(_WHOLE, data, self._secrets)
        if chunk.error or frame.event == "error":
            raise problems.inside(wire.decode(wire.ANY, data, self._secrets), self._secrets)
        if chunk.usage is not None:
            self.usage = usage_of(chunk.usage)
        self.model = self.model or _text(chunk.model)
        if not chunk.choices:
            return (wire.one_line(data),) if chunk.usage is not None and self._wants_usage else ()
        self._heard = True
        self.finish_reason = _finish_of(chunk.choices) or self.finish_reason
        return (mended(data) if any(map(_odd, chunk.choices)) else wire.one_line(data),)

    def end(self) -> Iterable[bytes]:
        self._check_end()
        return ()


def completion(body: bytes, secrets: Sequence[str]) -> Reply:
    """A whole completion, of a chat or not."""
    whole = wire.decode(_WHOLE, body, secrets)
    if whole.error:
        raise problems.inside(wire.decode(wire.ANY, body, secrets), secrets)
    if not whole.choices:
        raise problems.unreadable(body, secrets)
    if any(map(_odd, whole.choices)):
        body = mended(body)
        whole = _WHOLE.decode(body)
    return Reply(body, usage_of(whole.usage), _finish_of(whole.choices or ()) or "stop", _text(whole.model))


def vectors(body: bytes, secrets: Sequence[str]) -> Reply:
    """Embeddings; the vectors stay as they are."""
    whole = wire.decode(_VECTORS, body, secrets)
    if whole.error:
        raise problems.inside(wire.decode(wire.ANY, body, secrets), secrets)
    if not whole.data:
        raise problems.unreadable(body, secrets)
    usage = whole.usage if isinstance(whole.usage, dict) else {}
    return Reply(body, wire.usage(usage.get("prompt_tokens"), 0), model=_text(whole.model))


def packed(reply: Reply, secrets: Sequence[str]) -> Reply:
    """The vectors in base64, as little-endian numbers of four bytes."""
    answer = msgspec.json.decode(reply.body)
    for item in answer["data"]:
        numbers = item.get("embedding") if isinstance(item, dict) else None
        if not isinstance(numbers, list):
            continue
        try:
            item["embedding"] = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
        except (struct.error, OverflowError) as error:
            raise problems.unreadable(reply.body, secrets) from error
    return structs.replace(reply, body=wire.encode(answer))


def usage_of(usage: Any) -> Usage:
    """OpenAI's token counts; cached and reasoning tokens are inside the sums."""
    if not isinstance(usage, dict):
        return Usage(suspect=usage is not None)
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    if prompt is None and completion is None:
        return wire.usage(usage.get("prompt_tokens"), usage.get("completion_tokens"))
    prompt = prompt if isinstance(prompt, dict) else {}
    completion = completion if isinstance(completion, dict) else {}
    return wire.usage(
        usage.get("prompt_tokens"),
        usage.get("completion_tokens"),
        cached=prompt.get("cached_tokens"),
        cache_write=prompt.get("cache_write_tokens"),
        reasoning=completion.get("reasoning_tokens"),
    )


def _finish_of(choices: Iterable[_Choice]) -> str:
    """The last reason that the choices give, in OpenAI's words."""
    found = ""
    for choice in choices:
        reason = choice.finish_reason
        if reason and isinstance(reason, str):
            found = FINISH_REASONS.get(reason, reason)
    return found


def _text(value: Any) -> str:
    return value[:300] if isinstance(value, str) else ""


# --- mending ---------------------------------------------------------------------------------------------


def _odd(choice: _Choice) -> bool:
    """Whether a client that knows only OpenAI could stumble over this choice."""
    if choice.finish_reason is not None and (
        not choice.finish_reason or not isinstance(choice.finish_reason, str) or choice.finish_reason in FINISH_REASONS
    ):
        return True
    message = choice.message or choice.delta
    if message is None:
        return False
    return (
        bytes(memoryview(message.content)[:1]) == b"["
        or message.reasoning is not _NOTHING
        or message.thinking is not _NOTHING
        or (message.tool_calls is not _NOTHING and _odd_tool_calls(message.tool_calls, choice.delta is not None))
    )


def _odd_tool_calls(raw: Raw, streamed: bool) -> bool:
    calls = msgspec.json.decode(raw)
    return isinstance(calls, list) and any(
        isinstance(call, dict)
        and (
            (isinstance(call.get("function"), dict) and isinstance(call["function"].get("arguments"), dict))
            or (streamed and not isinstance(call.get("index"), int))
        )
        for call in calls
    )


def mended(data: bytes) -> bytes:
    """An answer or chunk in the words and shapes that OpenAI uses."""
    content = msgspec.json.decode(data)
    for choice in content["choices"]:
        choice["finish_reason"] = _mended_reason(choice)
        for place in ("message", "delta"):
            if isinstance(choice.get(place), dict):
                _mend_message(choice[place], streamed=place == "delta")
    return wire.encode(content)


def _mended_reason(choice: Mapping[str, Any]) -> str | None:
    reason, message = choice.get("finish_reason"), choice.get("message")
    if isinstance(reason, str) and reason:
        return FINISH_REASONS.get(reason, reason)
    if not isinstance(message, dict):
        return None
    return "tool_calls" if message.get("tool_calls") else "stop"


def _mend_message(message: dict[str, Any], *, streamed: bool) -> None:
    if isinstance(message.get("content"), list):
        thought = "".join(map(_thought, message["content"]))
        message["content"] = _text_of(message["content"])
        if thought:
            message.setdefault("reasoning_content", thought)
    for name in REASONING_NAMES:
        if isinstance(message.get(name), str):
            message.setdefault("reasoning_content", message.pop(name))
    calls = message.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else []):
        if isinstance(call, dict):
            _mend_tool_call(call, place if streamed else None)


def _text_of(parts: Any) -> str:
    listed = parts if isinstance(parts, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in listed]
    return "".join(text for text in texts if isinstance(text, str))


def _thought(part: Any) -> str:
    """What a part of the content tells of the reasoning: some lay it between the parts of the text."""
    told = part.get("summary") or part.get("thinking") if isinstance(part, dict) else None
    return told if isinstance(told, str) else _text_of(told or ())


def _mend_tool_call(call: dict[str, Any], place: int | None) -> None:
    function = call.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
        function["arguments"] = wire.encode(function["arguments"]).decode()
    if place is not None and not isinstance(call.get("index"), int):
        call["index"] = place
