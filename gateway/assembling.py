"""Puts the chunks of a stream together into the answer that would have come whole."""

import json

from connections.providers.calls import JSON, Mode

OBJECTS = {Mode.CHAT: "chat.completion", Mode.COMPLETION: "text_completion"}


class Assembly:
    """Feed it chunks (JSON); `whole()` is the answer so far."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.characters = 0
        self._head: JSON = {}
        self._usage: JSON | None = None
        self._choices: dict[int, JSON] = {}

    def feed(self, chunk: bytes) -> None:
        found: JSON = json.loads(chunk)
        self._head = self._head or {name: found.get(name) for name in ("id", "created", "model")}
        self._usage = found.get("usage") or self._usage
        for choice in found.get("choices") or []:
            self._add(choice)

    @property
    def complete(self) -> bool:
        """Whether the usage was told: it comes last."""
        return self._usage is not None

    def whole(self) -> JSON:
        choices = [self._choices[index] for index in sorted(self._choices)]
        usage = {"usage": self._usage} if self._usage else {}
        return {**self._head, "object": OBJECTS[self.mode], "choices": choices, **usage}

    def _add(self, piece: JSON) -> None:
        index = piece.get("index") or 0
        choice = self._choices.setdefault(index, {"index": index, "finish_reason": None})
        choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
        if self.mode is Mode.COMPLETION:
            self._append(choice, "text", piece.get("text"))
            return
        message = choice.setdefault("message", {"role": "assistant", "content": None})
        delta = piece.get("delta") or {}
        for name in ("content", "refusal", "reasoning_content"):
            self._append(message, name, delta.get(name))
        for call in delta.get("tool_calls") or []:
            self._add_call(message.setdefault("tool_calls", []), call)

    def _append(self, target: JSON, name: str, text: str | None) -> None:
        if text:
            target[name] = (target.get(name) or "") + text
            self.characters += len(text)

    @staticmethod
    def _add_call(calls: list[JSON], piece: JSON) -> None:
        index = piece.get("index", len(calls))
        while len(calls) <= index:
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[index], piece.get("function") or {}
        call["id"] = piece.get("id") or call["id"]
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""
