"""From Gemini's answers and events to OpenAI's completions, chunks and pictures."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers import gemini_tool_ids, images, problems, wire
from connections.providers.calls import JSON, Frame, Reply, Usage
from connections.providers.errors import ContentFiltered, RequestRefused
from connections.providers.images import Picture
from connections.providers.shapes import mapping, mappings, string
from connections.providers.streams import StreamReader

FILTERED = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "JAILBREAK", "LANGUAGE"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER"}
)
FAILED = frozenset(
    {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "OTHER"}
    | {"NO_IMAGE", "MISSING_THOUGHT_SIGNATURE"}
)
MAX_NAME = 60


def completion(body: bytes, secrets: Sequence[str]) -> Reply:
    """A whole answer as a whole chat completion."""
    whole = _answer(body, secrets)
    candidates = _candidates(whole)
    if not candidates:
        raise _without_candidates(whole, body, secrets)
    usage, envelope = usage_of(whole.get("usageMetadata")), _envelope("chat.completion", whole)
    choices = [_choice(candidate, place, string(whole, "responseId")) for place, candidate in enumerate(candidates)]
    answer = {**envelope, "choices": choices, "usage": usage.as_openai()}
    return Reply(wire.encode(answer), usage, choices[0]["finish_reason"], envelope["model"])


def pictures(body: bytes, secrets: Sequence[str]) -> Reply:
    """A whole answer of a model that draws."""
    whole = _answer(body, secrets)
    candidates = _candidates(whole)
    if not candidates:
        raise _without_candidates(whole, body, secrets)
    usage = usage_of(whole.get("usageMetadata"))
    found = [Picture(data) for candidate in candidates for part in _parts_of(candidate) if (data := _image(part))]
    reasons = {reason for candidate in candidates if (reason := string(candidate, "finishReason"))}
    if not found and not reasons & FILTERED:
        words = "The model answered without a picture. Ask for one in clear words."
        raise RequestRefused(words, evidence=_said(candidates), usage=usage)
    try:
        return images.reply_of(found, usage, string(whole, "modelVersion"))
    except ContentFiltered as error:
        error.usage = usage
        raise


def usage_of(told: Any) -> Usage:
    """Gemini counts thoughts beside the answer and what its tools read beside the prompt; OpenAI counts them in."""
    if not isinstance(told, dict):
        return Usage(suspect=told is not None)
    names = ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    counts = [wire.count(told.get(name)) for name in names]
    prompt, tools, answer, thoughts = [number or 0 for number, _ in counts]
    return wire.usage(
        prompt + tools,
        answer + thoughts,
        cached=told.get("cachedContentTokenCount"),
        reasoning=thoughts,
        suspect=any(mended for _, mended in counts),
    )


def blocked(whole: Mapping[str, Any]) -> ContentFiltered | None:
    """What it amounts to that the prompt itself was refused."""
    feedback = mapping(whole.get("promptFeedback"))
    reason = string(feedback, "blockReason")
    if not reason:
        return None
    words = f"The provider's filter refused the prompt ({reason[:MAX_NAME]}). Change it."
    evidence = string(feedback, "blockReasonMessage") or reason
    return ContentFiltered(words, evidence=evidence, usage=usage_of(whole.get("usageMetadata")))


def _answer(body: bytes, secrets: Sequence[str]) -> Mapping[str, Any]:
    """The answer; raises what an error inside amounts to, which may stand in a list."""
    content = wire.decode(wire.ANY, body, secrets)
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    whole = mapping(content)
    if whole.get("error"):
        raise problems.inside(whole, secrets)
    return whole


def _without_candidates(whole: Mapping[str, Any], body: bytes, secrets: Sequence[str]) -> Exception:
    return blocked(whole) or problems.unreadable(body, secrets)


def _candidates(whole: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return mappings(whole.get("candidates"))


def _parts_of(candidate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """None at all where thinking took all tokens, or a filter the answer."""
    return mappings(mapping(candidate.get("content")).get("parts"))


def _choice(candidate: Mapping[str, Any], place: int, response: str) -> JSON:
    parts = _parts_of(candidate)
    called = [part for part in parts if "functionCall" in part]
    calls = [_tool_call(part, f"{response}x{place}" if place else response, at) for at, part in enumerate(called)]
    text = "".join(string(part, "text") for part in parts if not part.get("thought"))
    thoughts = "".join(string(part, "text") for part in parts if part.get("thought"))
    message: JSON = {"role": "assistant", "content": None if calls and not text else text, "refusal": None}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    finish = finish_of(candidate.get("finishReason"), called=bool(calls))
    return {"index": _place(candidate, place), "message": message, "logprobs": None, "finish_reason": finish}


def _tool_call(part: Mapping[str, Any], response: str, place: int) -> JSON:
    call = mapping(part.get("functionCall"))
    function = {"name": string(call, "name"), "arguments": wire.encode(call.get("args") or {}).decode()}
    name = gemini_tool_ids.new_id(response, place, part.get("thoughtSignature"))
    return {"id": name, "type": "function", "function": function}


def finish_of(reason: Any, *, called: bool) -> str:
    """An answer that calls tools says STOP like any other."""
    if reason == "MAX_TOKENS":
        return "length"
    if isinstance(reason, str) and reason in FILTERED:
        return "content_filter"
    if isinstance(reason, str) and reason in FAILED:
        return "error"
    return "tool_calls" if called else "stop"


def _image(part: Mapping[str, Any]) -> str:
    data = mapping(part.get("inlineData"))
    return string(data, "data") if string(data, "mimeType").startswith("image/") and not part.get("thought") else ""


def _said(candidates: Sequence[Mapping[str, Any]]) -> str:
    texts = [string(part, "text") for candidate in candidates for part in _parts_of(candidate)]
    reasons = [string(candidate, "finishMessage") or string(candidate, "finishReason") for candidate in candidates]
    return " ".join(filter(None, texts + reasons))


def _envelope(kind: str, whole: Mapping[str, Any]) -> JSON:
    return {
        "id": string(whole, "responseId") or "chatcmpl-unnamed",
        "object": kind,
        "created": int(time.time()),
        "model": string(whole, "modelVersion"),
    }


def _place(candidate: Mapping[str, Any], place: int) -> int:
    index = candidate.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) else place


class ContentReader(StreamReader):
    """One stream of answers in pieces as a stream of chunks. Tool calls come whole; the last usage holds."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._envelope: JSON = _envelope("chat.completion.chunk", {})
        self._response = ""
        self._begun = False
        self._calls = 0

    def feed(self, frame: Frame) -> Sequence[bytes]:
        whole = _answer(frame.data, self._secrets)
        if refusal := blocked(whole):
            raise refusal
        if not self._begun:
            self._envelope = _envelope("chat.completion.chunk", whole)
            self.model, self._response = string(whole, "modelVersion"), string(whole, "responseId")
        if whole.get("usageMetadata") is not None:
            self.usage = usage_of(whole["usageMetadata"])
        return [chunk for candidate in _candidates(whole)[:1] for chunk in self._chunks(candidate)]

    def end(self) -> Sequence[bytes]:
        self._check_end()
        usage = {**self._envelope, "choices": [], "usage": self.usage.as_openai()}
        return [wire.encode(usage)] if self._wants_usage else ()

    def _chunks(self, candidate: Mapping[str, Any]) -> list[bytes]:
        self._heard = True
        deltas = [delta for part in _parts_of(candidate) if (delta := self._delta(part))]
        if not self._begun:
            self._begun = True
            deltas.insert(0, {"role": "assistant", "content": ""})
        made = [self._chunk(delta) for delta in deltas]
        if candidate.get("finishReason") and not self.finish_reason:
            self.finish_reason = finish_of(candidate["finishReason"], called=self._calls > 0)
            made.append(self._chunk({}, self.finish_reason))
        return made

    def _delta(self, part: Mapping[str, Any]) -> JSON:
        if "functionCall" in part:
            self._calls += 1
            place = self._calls - 1
            return {"tool_calls": [{"index": place, **_tool_call(part, self._response, place)}]}
        text = string(part, "text")
        name = "reasoning_content" if part.get("thought") else "content"
        return {name: text} if text else {}

    def _chunk(self, delta: JSON, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return wire.encode({**self._envelope, "choices": [choice]})
