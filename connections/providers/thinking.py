"""Reasoning between `<think>` tags at the beginning of an answer, taken apart from it where an admin wishes that."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from connections.providers import wire
from connections.providers.calls import JSON, Frame, Reply
from connections.providers.openai_replies import ChunkReader

OPENING, CLOSING = "<think>", "</think>"


class Splitter:
    """Takes one answer apart as it comes. What may be the beginning of a tag waits for what follows it."""

    def __init__(self) -> None:
        self._waiting = ""
        self._tag = OPENING
        """The tag that may come next; empty: all the rest is the answer."""
        self._fresh = False
        """The answer proper has not begun: blank lines in front of it are left out."""

    def feed(self, text: str) -> tuple[str, str]:
        """The reasoning and the answer in this piece."""
        text, self._waiting = self._waiting + text, ""
        thought = ""
        if self._tag == OPENING:
            begun = text.lstrip()
            if not begun or (OPENING.startswith(begun) and begun != OPENING):
                self._waiting = text
                return "", ""
            if not begun.startswith(OPENING):
                self._tag = ""
                return "", text
            text, self._tag = begun.removeprefix(OPENING), CLOSING
        if self._tag == CLOSING:
            thought, closed, text = text.partition(CLOSING)
            if not closed:
                kept = _beginning_of(CLOSING, thought)
                self._waiting = thought[len(thought) - kept :]
                return thought[: len(thought) - kept], ""
            self._tag, self._fresh = "", True
        if self._fresh:
            text = text.lstrip()
            self._fresh = not text
        return thought, text

    def rest(self) -> tuple[str, str]:
        """What was still waiting when the answer ended."""
        waiting, self._waiting = self._waiting, ""
        return (waiting, "") if self._tag == CLOSING else ("", waiting)


def _beginning_of(tag: str, text: str) -> int:
    """How many of the last characters may begin the tag."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)


def split(reply: Reply) -> Reply:
    """A whole answer with its reasoning apart."""
    if OPENING.encode() not in reply.body:
        return reply
    answer = msgspec.json.decode(reply.body)
    for choice in answer["choices"]:
        message = choice.get("message")
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            splitter = Splitter()
            _place(message, splitter.feed(message["content"]), splitter.rest())
    return structs.replace(reply, body=wire.encode(answer))


def _place(message: JSON, *found: tuple[str, str]) -> None:
    thought = "".join(piece for piece, _ in found)
    message["content"] = "".join(piece for _, piece in found)
    if thought:
        told = message.get("reasoning_content")
        message["reasoning_content"] = (told if isinstance(told, str) else "") + thought


class SplitChunks(ChunkReader):
    """The same for a stream."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._splitters: dict[int, Splitter] = {}
        self._head: JSON = {}

    def feed(self, frame: Frame) -> Sequence[bytes]:
        return [self._split(chunk) for chunk in super().feed(frame)]

    def end(self) -> Iterable[bytes]:
        yield from super().end()
        for index, splitter in self._splitters.items():
            delta: JSON = {}
            _place(delta, splitter.rest())
            if any(delta.values()):
                choice = {"index": index, "delta": delta, "finish_reason": None}
                yield wire.encode({**self._head, "choices": [choice]})

    def _split(self, chunk: bytes) -> bytes:
        content = msgspec.json.decode(chunk)
        self._head = {name: value for name, value in content.items() if name not in {"choices", "usage"}}
        for choice in content.get("choices") or ():
            self._split_choice(choice)
        return wire.encode(content)

    def _split_choice(self, choice: Mapping[str, Any]) -> None:
        delta, index = choice.get("delta"), choice.get("index")
        if not isinstance(delta, dict):
            return
        splitter = self._splitters.setdefault(index if isinstance(index, int) else 0, Splitter())
        text = delta.get("content")
        found = [splitter.feed(text)] if isinstance(text, str) else []
        if choice.get("finish_reason") or delta.get("tool_calls"):
            found.append(splitter.rest())
        if any(map(any, found)) or isinstance(text, str):
            _place(delta, *found)
