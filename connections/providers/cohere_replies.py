"""From the answers of the second version of Cohere's API to OpenAI's."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import structs

from connections.providers import problems, ranking, wire
from connections.providers.calls import JSON, Frame, Reply
from connections.providers.model_families.cohere_chat import finish_of
from connections.providers.model_families.cohere_usage import usage_of
from connections.providers.model_families.family import refusal_in
from connections.providers.shapes import BlockReader, chat_reply, decoded, mapping, mappings, place_of, string


def completion(body: bytes, secrets: Sequence[str]) -> Reply:
    """A whole chat. What the model plans to do with its tools is reasoning, which callers can send back."""
    content = decoded(body, secrets)
    if not isinstance(content.get("message"), dict):
        raise refusal_in(content, body, secrets)
    said = content["message"]
    calls = [_tool_call(call) for call in mappings(said.get("tool_calls"))]
    text, thoughts = _text(said, "text"), _text(said, "thinking") + string(said, "tool_plan")
    message: JSON = {"content": None if calls and not text else text}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    finish = finish_of(content.get("finish_reason"), bool(calls))
    usage = usage_of(mapping(content.get("usage")))
    beside = {"citations": said["citations"]} if said.get("citations") else {}
    return chat_reply(message, finish, usage, name=string(content, "id"), beside=beside)


def _text(message: Mapping[str, Any], kind: str) -> str:
    if isinstance(message.get("content"), str):
        return message["content"] if kind == "text" else ""
    return "".join(string(block, kind) for block in mappings(message.get("content")))


def _tool_call(call: Mapping[str, Any]) -> JSON:
    function = mapping(call.get("function"))
    made = {"name": string(function, "name"), "arguments": string(function, "arguments") or "{}"}
    return {"id": string(call, "id"), "type": "function", "function": made}


def ranked(body: bytes, secrets: Sequence[str]) -> Reply:
    content = decoded(body, secrets)
    results = mappings(content.get("results"))
    scores = [(one.get("index"), one.get("relevance_score")) for one in results]
    good = [(at, float(score)) for at, score in scores if isinstance(at, int) and isinstance(score, int | float)]
    if not isinstance(content.get("results"), list) or len(good) < len(content["results"]):
        raise refusal_in(content, body, secrets)
    usage = structs.replace(usage_of(mapping(content.get("meta"))), completion_tokens=0)
    return ranking.reply_of(good, usage)


class ChatReader(BlockReader):
    """A stream of typed events as a stream of chunks."""

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done or frame.data == b"[DONE]":
            return ()
        event = mapping(wire.decode(wire.ANY, frame.data, self._secrets))
        delta = mapping(event.get("delta"))
        message = mapping(delta.get("message"))
        match event.get("type"):
            case "content-delta" | "content-start":
                return self._content(mapping(message.get("content")))
            case "tool-plan-delta":
                return self._text(string(message, "tool_plan"), name="reasoning_content")
            case "tool-call-start":
                return self._tool(place_of(event), mapping(message.get("tool_calls")))
            case "tool-call-delta":
                return self._tool_goes_on(place_of(event), _arguments(message))
            case "tool-call-end":
                return self._tool_ends(place_of(event))
            case "citation-start" if message.get("citations"):
                return [self._delta(citations=[message["citations"]])]
            case "message-start":
                self._name = string(event, "id")
                return [self._delta(role="assistant", content="")]
            case "message-end":
                return self._over(delta)
            case None if event.get("error") or event.get("message"):
                raise problems.inside(event, self._secrets)
        return ()

    def _content(self, content: Mapping[str, Any]) -> list[bytes]:
        thoughts = self._text(string(content, "thinking"), name="reasoning_content")
        return thoughts + self._text(string(content, "text"))

    def _tool(self, block: int, call: Mapping[str, Any]) -> list[bytes]:
        function = mapping(call.get("function"))
        named = string(call, "id"), string(function, "name")
        return self._tool_begins(block, *named, string(function, "arguments"))

    def _over(self, delta: Mapping[str, Any]) -> list[bytes]:
        self._done = True
        self.usage = usage_of(mapping(delta.get("usage")))
        if delta.get("error"):
            raise problems.inside({"message": delta["error"]}, self._secrets)
        return self._finish(finish_of(delta.get("finish_reason"), bool(self._tools)))


def _arguments(message: Mapping[str, Any]) -> str:
    return string(mapping(mapping(message.get("tool_calls")).get("function")), "arguments")
