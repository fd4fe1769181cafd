"""What Bedrock answers: the messages and events of its chat API, and the chunks of models invoked by their own JSON."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connections.providers import aws_problems, problems, wire
from connections.providers.calls import JSON, Answer, Frame, Reply, Usage
from connections.providers.contract import EventReader
from connections.providers.errors import ProviderError, ServerFailed
from connections.providers.shapes import BlockReader, chat_reply, decoded, mapping, mappings, place_of, string

FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
FAILURES = frozenset({"malformed_model_output", "malformed_tool_use"})
"""Reasons that mean that there is no answer."""
EXCEPTION = "exception:"
ERROR = "error:"


def converse_reply(answer: Answer, secrets: Sequence[str]) -> Reply:
    """A whole message as a whole chat completion."""
    content = decoded(answer.body, secrets)
    message = mapping(mapping(content.get("output")).get("message"))
    if not isinstance(message.get("content"), list):
        raise _unanswered(content, answer.body, secrets)
    usage, made = usage_of(content.get("usage")), _message(mappings(message["content"]))
    finish = _finish_of(content.get("stopReason"), "tool_calls" in made, usage)
    return chat_reply(made, finish, usage, name=answer.headers.get("x-amzn-requestid", "")[:100])


def _unanswered(content: Mapping[str, Any], body: bytes, secrets: Sequence[str]) -> ProviderError:
    return problems.inside(content, secrets) if string(content, "message") else problems.unreadable(body, secrets)


def _finish_of(reason: Any, calls_tools: bool, usage: Usage) -> str:
    word = reason if isinstance(reason, str) else ""
    if word in FAILURES:
        raise ServerFailed(problems.SENTENCES[ServerFailed], evidence=f"The model ended with {word}.", usage=usage)
    return FINISH_REASONS.get(word, "tool_calls" if calls_tools else "stop")


def usage_of(usage: Any) -> Usage:
    """Bedrock's input tokens leave out what the cache read or wrote; OpenAI's include it."""
    if not isinstance(usage, dict):
        return Usage(suspect=usage is not None)
    counts = [wire.count(usage.get(name)) for name in ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")]
    (given, _), (read, _), (written, _) = counts
    return wire.usage(
        None if given is None else given + (read or 0) + (written or 0),
        usage.get("outputTokens"),
        cached=read,
        cache_write=written,
        suspect=any(mended for _, mended in counts),
    )


def usage_beside(headers: Mapping[str, str]) -> Usage:
    """The tokens that the headers of an invoked model's answer tell."""
    told = {name: headers.get(f"x-amzn-bedrock-{place}-token-count") for name, place in PLACES.items()}
    return usage_of({name: _number(text) for name, text in told.items() if text is not None})


PLACES: Mapping[str, str] = {
    "inputTokens": "input",
    "outputTokens": "output",
    "cacheReadInputTokens": "cache-read-input",
    "cacheWriteInputTokens": "cache-write-input",
}


def _number(text: str) -> Any:
    return int(text) if text.isascii() and text.isdigit() else text


def _message(blocks: Sequence[Mapping[str, Any]]) -> JSON:
    text = "".join(string(block, "text") for block in blocks)
    thoughts = "".join(_thought(mapping(block.get("reasoningContent"))) for block in blocks)
    calls = [_tool_call(mapping(block["toolUse"])) for block in blocks if "toolUse" in block]
    message: JSON = {"content": None if calls and not text else text}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def _thought(reasoning: Mapping[str, Any]) -> str:
    return string(mapping(reasoning.get("reasoningText")), "text")


def _tool_call(used: Mapping[str, Any]) -> JSON:
    arguments = wire.encode(used.get("input") or {}).decode()
    function = {"name": string(used, "name"), "arguments": arguments}
    return {"id": string(used, "toolUseId"), "type": "function", "function": function}


def problem_in(frame: Frame, secrets: Sequence[str]) -> ProviderError | None:
    """What an exception in place of an event amounts to; None: it is an event."""
    if frame.event.startswith(EXCEPTION):
        name = frame.event.removeprefix(EXCEPTION)
        code = name[:1].upper() + name[1:]
        return aws_problems.named(Answer(500, {"x-amzn-errortype": code}, frame.data), secrets)
    if frame.event.startswith(ERROR):
        code = frame.event.removeprefix(ERROR)
        said = wire.encode({"message": frame.data.decode(errors="replace")})
        return aws_problems.named(Answer(500, {"x-amzn-errortype": code}, said), secrets)
    return None


class ConverseReader(BlockReader):
    """The events of the chat API as chunks."""

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if problem := problem_in(frame, self._secrets):
            raise problem
        event = mapping(wire.decode(wire.ANY, frame.data, self._secrets))
        block = place_of(event, "contentBlockIndex")
        match frame.event:
            case "contentBlockDelta":
                return self._goes_on(block, mapping(event.get("delta")))
            case "messageStart":
                return [self._delta(role="assistant", content="")]
            case "contentBlockStart":
                tool = mapping(mapping(event.get("start")).get("toolUse"))
                return self._tool_begins(block, string(tool, "toolUseId"), string(tool, "name")) if tool else ()
            case "contentBlockStop":
                return self._tool_ends(block)
            case "messageStop":
                return self._stopped(event)
            case "metadata":
                self.usage = usage_of(event.get("usage"))
        return ()

    def _goes_on(self, block: int, delta: Mapping[str, Any]) -> Sequence[bytes]:
        if "text" in delta:
            return self._text(string(delta, "text"))
        if "reasoningContent" in delta:
            return self._text(string(mapping(delta["reasoningContent"]), "text"), name="reasoning_content")
        return self._tool_goes_on(block, string(mapping(delta.get("toolUse")), "input"))

    def _stopped(self, event: Mapping[str, Any]) -> Sequence[bytes]:
        if self.finish_reason:
            return ()
        return self._finish(_finish_of(event.get("stopReason"), bool(self._tools), self.usage))


class InvokedReader:
    """The chunks of a model invoked by its own JSON: each is wrapped, and its family reads it."""

    def __init__(self, own: EventReader, secrets: Sequence[str]) -> None:
        self.usage, self.finish_reason, self.model = own.usage, own.finish_reason, own.model
        self._own, self._secrets = own, secrets

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if problem := problem_in(frame, self._secrets):
            raise problem
        if frame.event != "chunk":
            return ()
        return self._told(self._own.feed(Frame("", self._unwrapped(frame.data))))

    def end(self) -> Sequence[bytes]:
        return self._told(self._own.end())

    def _unwrapped(self, data: bytes) -> bytes:
        chunk = mapping(wire.decode(wire.ANY, data, self._secrets)).get("bytes")
        try:
            return base64.b64decode(chunk, validate=True) if isinstance(chunk, str) else b""
        except ValueError:
            return b""

    def _told(self, chunks: Iterable[bytes]) -> Sequence[bytes]:
        """What the family's reader learnt by now is what this one says."""
        made, own = list(chunks), self._own
        self.usage, self.finish_reason, self.model = own.usage, own.finish_reason, own.model
        return made
