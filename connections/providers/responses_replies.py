"""What OpenAI's Responses API answers, as chat completions and their chunks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from connections.providers import problems, wire
from connections.providers.calls import JSON, Frame, Reply, Usage
from connections.providers.errors import BadReply
from connections.providers.streams import StreamReader

INCOMPLETE: Mapping[str, str] = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""Finish reasons by why an answer is incomplete."""
REASONING = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
LAST = frozenset({"response.completed", "response.incomplete"})
FAILED = frozenset({"response.failed", "response.cancelled", "error"})


def completion(body: bytes, secrets: Sequence[str]) -> Reply:
    """A whole answer."""
    whole = wire.decode(wire.ANY, body, secrets)
    if not isinstance(whole, dict):
        raise problems.unreadable(body, secrets)
    if whole.get("error") or whole.get("status") in {"failed", "cancelled"}:
        raise problems.inside(whole, secrets)
    if whole.get("status") not in {"completed", "incomplete"} or not isinstance(whole.get("output"), list):
        raise problems.unreadable(body, secrets)
    message = _message(whole["output"])
    finish = _finish(whole, called="tool_calls" in message)
    usage, model = usage_of(whole.get("usage")), _name(whole.get("model"))
    answer = {
        **_head(whole, "chat.completion"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage.as_openai(),
    }
    return Reply(wire.encode(answer), usage, finish, model)


def usage_of(told: Any) -> Usage:
    if not isinstance(told, dict):
        return Usage(suspect=told is not None)
    read, spent = told.get("input_tokens_details"), told.get("output_tokens_details")
    read, spent = (part if isinstance(part, dict) else {} for part in (read, spent))
    return wire.usage(
        told.get("input_tokens"),
        told.get("output_tokens"),
        cached=read.get("cached_tokens"),
        cache_write=read.get("cache_write_tokens"),
        reasoning=spent.get("reasoning_tokens"),
    )


def _head(whole: Mapping[str, Any], kind: str) -> JSON:
    created = whole.get("created_at")
    return {
        "id": _name(whole.get("id")),
        "object": kind,
        "created": int(created) if isinstance(created, int | float) and 0 <= created < 2**33 else 0,
        "model": _name(whole.get("model")),
    }


def _finish(whole: Mapping[str, Any], *, called: bool) -> str:
    details = whole.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if whole.get("status") == "incomplete" or reason:
        return INCOMPLETE.get(str(reason), "length")
    return "tool_calls" if called else "stop"


def _name(value: Any) -> str:
    return value[:300] if isinstance(value, str) else ""


# --- whole answers ---------------------------------------------------------------------------------------


def _message(output: Sequence[Any]) -> JSON:
    """The items of the output as one message."""
    items = [item for item in output if isinstance(item, dict)]
    said = [part for item in items if item.get("type") == "message" for part in _dicts(item.get("content"))]
    thought = [
        part
        for item in items
        if item.get("type") == "reasoning"
        for part in [*_dicts(item.get("summary")), *_dicts(item.get("content"))]
    ]
    calls = [_tool_call(item) for item in items if item.get("type") == "function_call"]
    text = _joined(said, "output_text", "text")
    message: JSON = {"role": "assistant", "content": text or (None if calls else "")}
    message["refusal"] = _joined(said, "refusal", "refusal") or None
    if reasoning := _joined(thought, "summary_text", "text") + _joined(thought, "reasoning_text", "text"):
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    if notes := [_annotation(note) for part in said for note in _dicts(part.get("annotations"))]:
        message["annotations"] = notes
    return message


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def _joined(parts: Iterable[Mapping[str, Any]], kind: str, name: str) -> str:
    found = (part.get(name) for part in parts if part.get("type") == kind)
    return "".join(text for text in found if isinstance(text, str))


def _tool_call(item: Mapping[str, Any]) -> JSON:
    function = {"name": _name(item.get("name")), "arguments": _arguments(item)}
    return {"id": _name(item.get("call_id")), "type": "function", "function": function}


def _arguments(item: Mapping[str, Any]) -> str:
    return item["arguments"] if isinstance(item.get("arguments"), str) else ""


def _annotation(note: Mapping[str, Any]) -> JSON:
    """Citations of pages lie one level deeper in chat."""
    if note.get("type") != "url_citation":
        return dict(note)
    cited = {name: value for name, value in note.items() if name != "type"}
    return {"type": "url_citation", "url_citation": cited}


# --- streams ---------------------------------------------------------------------------------------------


class ResponseReader(StreamReader):
    """Events of one response as chunks of a chat."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._head: JSON = {}
        self._begun = False
        self._places: dict[Any, int] = {}
        """The place of each tool call among all, by its place in the output."""
        self._filled: set[Any] = set()
        """Tool calls whose arguments came in pieces."""

    def feed(self, frame: Frame) -> Iterable[bytes]:
        if self._done or frame.data == b"[DONE]":
            return []
        event = wire.decode(wire.ANY, frame.data, self._secrets)
        if not isinstance(event, dict):
            raise problems.unreadable(frame.data, self._secrets)
        kind = event.get("type") or frame.event
        response = event.get("response")
        if isinstance(response, dict):
            self._head = self._head or _head(response, "chat.completion.chunk")
            self.model = self.model or _name(response.get("model"))
        if kind in FAILED or event.get("error"):
            raise problems.inside(response if isinstance(response, dict) else event, self._secrets)
        if kind in LAST:
            return list(self._over(response if isinstance(response, dict) else {}))
        return [self._chunk(delta) for delta in self._deltas(str(kind), event)]

    def end(self) -> Iterable[bytes]:
        self._check_end()
        return ()

    def _deltas(self, kind: str, event: Mapping[str, Any]) -> Iterator[JSON]:
        piece, place = event.get("delta"), str(event.get("output_index"))
        text = piece if isinstance(piece, str) else ""
        if kind == "response.output_text.delta":
            yield {"content": text}
        elif kind == "response.refusal.delta":
            yield {"refusal": text}
        elif kind in REASONING:
            yield {"reasoning_content": text}
        elif kind == "response.output_text.annotation.added" and isinstance(event.get("annotation"), dict):
            yield {"annotations": [_annotation(event["annotation"])]}
        elif kind == "response.function_call_arguments.delta" and place in self._places:
            self._filled.add(place)
            yield self._called(place, {"function": {"arguments": text}})
        elif kind.startswith("response.output_item.") and isinstance(event.get("item"), dict):
            yield from self._item(place, event["item"])

    def _item(self, place: str, item: Mapping[str, Any]) -> Iterator[JSON]:
        """A tool call begins, or is whole: then with arguments that did not come before."""
        if item.get("type") != "function_call":
            return
        if place not in self._places:
            self._places[place] = len(self._places)
            call = _tool_call(item)
            call["function"]["arguments"] = ""
            yield self._called(place, call)
        if _arguments(item) and place not in self._filled:
            self._filled.add(place)
            yield self._called(place, {"function": {"arguments": _arguments(item)}})

    def _called(self, place: str, call: JSON) -> JSON:
        return {"tool_calls": [{"index": self._places[place], **call}]}

    def _over(self, response: Mapping[str, Any]) -> Iterator[bytes]:
        if not isinstance(response.get("output"), list) and not self._heard:
            raise BadReply("The provider's answer was empty.")
        self.usage, self._done = usage_of(response.get("usage")), True
        self.finish_reason = _finish(response, called=bool(self._places))
        yield self._chunk({}, self.finish_reason)
        if self._wants_usage:
            yield wire.encode({**self._head, "choices": [], "usage": self.usage.as_openai()})

    def _chunk(self, delta: JSON, finish: str | None = None) -> bytes:
        self._heard = True
        if not self._begun:
            self._begun, delta = True, {"role": "assistant", **delta}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return wire.encode({**self._head, "choices": [choice]})
