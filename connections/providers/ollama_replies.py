"""What Ollama answers, whole or a line per piece."""

from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers import shapes, wire
from connections.providers.calls import JSON, Frame, Mode, ModelInfo, Usage
from connections.providers.errors import BadReply
from connections.providers.shapes import ShapedReader, mapping, mappings, string

REASONS: Mapping[str, str] = {"length": "length"}


class AnswerReader(ShapedReader):
    """One answer, a line per piece; the last line says how it went."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool, mode: Mode) -> None:
        super().__init__(secrets, wants_usage)
        self.mode = mode
        self._places = 0

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done:
            return ()
        said = shapes.decoded(frame.data, self._secrets)
        self.model = self.model or string(said, "model")
        chunks = self._pieces(said)
        if said.get("done") is True:
            self._done, self.usage = True, usage_of(said)
            chunks += self._finish("tool_calls" if self._places else reason_of(said))
        return chunks

    def _pieces(self, said: Mapping[str, Any]) -> list[bytes]:
        text, message = text_of(said), mapping(said.get("message"))
        if text is None:
            raise BadReply("The provider sent an event that is no part of an answer.")
        chunks = [self._delta(**thought) for thought in [thought_of(message)] if thought]
        chunks += self._text(text)
        if calls := calls_of(message, self._places):
            self._places += len(calls)
            chunks.append(self._delta(tool_calls=calls))
        self._heard = self._heard or bool(chunks)
        return chunks


def text_of(said: Mapping[str, Any]) -> str | None:
    """The text of a chat's or a completion's answer; None: this is none."""
    if isinstance(said.get("message"), dict):
        return string(said["message"], "content")
    return string(said, "response") if "response" in said or said.get("done") is True else None


def thought_of(message: Mapping[str, Any]) -> JSON:
    return {"reasoning_content": message["thinking"]} if string(message, "thinking") else {}


def calls_of(message: Mapping[str, Any], start: int) -> list[JSON]:
    """Arguments come as objects, and older servers name no ids."""
    found = []
    for place, call in enumerate(mappings(message.get("tool_calls")), start):
        function = mapping(call.get("function"))
        arguments = wire.encode(function.get("arguments") or {}).decode()
        told = {"name": string(function, "name"), "arguments": arguments}
        found.append(
            {"index": place, "id": string(call, "id") or f"call_{place}", "type": "function", "function": told}
        )
    return found


def reason_of(said: Mapping[str, Any]) -> str:
    return REASONS.get(string(said, "done_reason"), "stop")


def usage_of(said: Mapping[str, Any]) -> Usage:
    """A prompt that was cached is not counted by older servers: then it is not known."""
    return wire.usage(said.get("prompt_eval_count"), said.get("eval_count"))


def model_of(item: Mapping[str, Any]) -> ModelInfo:
    name, details = string(item, "model") or string(item, "name"), mapping(item.get("details"))
    embeds = "embed" in name or "bert" in string(details, "family")
    return ModelInfo(name, Mode.EMBEDDING if embeds else Mode.CHAT, family=string(details, "family"))
