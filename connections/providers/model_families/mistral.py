"""Mistral's models: the open ones continue a text, Large chats in nearly OpenAI's way."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs

from connections.providers import wire
from connections.providers.calls import JSON, Adjustment, Call, Frame, Mode, Reply, Target, Usage
from connections.providers.contract import EventReader
from connections.providers.model_families.family import (
    NOT_TOLD,
    Family,
    TextFamily,
    Told,
    counted,
    list_of,
    metrics_of,
    refusal_in,
    text_in,
    text_of,
)
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.prompt_formats import Rendered
from connections.providers.shapes import ShapedReader, chat_reply, decoded, mapping, mappings, string

REASONS: Mapping[str, str] = {"stop": "stop", "length": "length", "model_length": "length", "tool_calls": "tool_calls"}
NEWER_FORMAT = ("mistral-large", "instruct-v0:3", "instruct-v0.3")
"""Parts of the ids of models whose template puts the system's text into the last turn instead of the first."""
TOOL_CHOICES: Mapping[str, str] = {"auto": "auto", "none": "none", "required": "any"}


class Mistral(TextFamily):
    name = "mistral"
    parameters = ParameterTable.of("max_tokens", "stop", "top_k", "top_p", temperature=Rule(minimum=0, maximum=1))
    reasons = REASONS
    begin = "<s>"

    def prompt(self, call: Call) -> Rendered:
        """The newer template puts instructions before the user's last words, not the first."""
        newer = (call.target.options.get("prompt_format") or self.format_for(call.target)) == "mistral-v3"
        return super().prompt(_with_instructions_last(call) if newer else call)

    def format_for(self, target: Target) -> str:
        return "mistral-v3" if any(part in target.known_as for part in NEWER_FORMAT) else "mistral-v1"

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        given["prompt"] = text_of(given["prompt"])
        if "stop" in given:
            given["stop"] = list_of(given["stop"])
        return given

    def answers(self, content: Mapping[str, Any]) -> Iterable[Told]:
        for one in mappings(content.get("outputs")):
            if isinstance(one.get("text"), str):
                yield Told(one["text"], one.get("stop_reason"))


class MistralChat(Family):
    name = "mistral-chat"
    mode = Mode.CHAT
    parameters = ParameterTable.of(
        "max_tokens",
        "tool_choice",
        "tools",
        "top_p",
        max_completion_tokens=Rule("max_tokens"),
        temperature=Rule(minimum=0, maximum=1),
    )

    def body(self, call: Call) -> JSON:
        given = {name: wire.plain(value) for name, value in self.parameters_for(call.target).apply(call).items()}
        given["messages"] = [_message(message) for message in given["messages"]]
        if "tool_choice" in given:
            given["tool_choice"] = _tool_choice(call, given["tool_choice"])
        return given

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        content = decoded(body, secrets)
        choice = next(iter(mappings(content.get("choices"))), None)
        if choice is None or not isinstance(choice.get("message"), dict):
            raise refusal_in(content, body, secrets)
        calls = [_tool_call(one) for one in mappings(choice["message"].get("tool_calls"))]
        message = {"content": string(choice["message"], "content") or (None if calls else "")}
        finish = _finish_of(choice, bool(calls))
        usage = counted(_usage(content), told)
        made = {**message, "tool_calls": calls} if calls else message
        return chat_reply(made, finish, usage, model=string(content, "model"), name=string(content, "id"))

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return ChatReader(secrets, call.wants_usage)


def _with_instructions_last(call: Call) -> Call:
    messages: list[JSON] = wire.plain(call.body["messages"])
    system = [message for message in messages if message["role"] in {"system", "developer"}]
    others = [message for message in messages if message not in system]
    asked = [place for place, message in enumerate(others) if message["role"] == "user"]
    if not system or not asked:
        return call
    texts = "\n\n".join(text_in(message) for message in [*system, others[asked[-1]]])
    others[asked[-1]] = {"role": "user", "content": texts}
    return structs.replace(call, body={**call.body, "messages": others})


class ChatReader(ShapedReader):
    """Chunks that carry a `message` or a `delta`, with tool calls whole."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._calls = 0

    def feed(self, frame: Frame) -> Sequence[bytes]:
        chunk = decoded(frame.data, self._secrets)
        self.usage = counted(metrics_of(chunk), counted(_usage(chunk), self.usage))
        self.model, self._name = self.model or string(chunk, "model"), self._name or string(chunk, "id")
        return [made for choice in mappings(chunk.get("choices"))[:1] for made in self._choice(choice)]

    def _choice(self, choice: Mapping[str, Any]) -> list[bytes]:
        if self.finish_reason:
            return []
        delta = mapping(choice.get("delta")) or mapping(choice.get("message"))
        chunks = self._text(string(delta, "content"))
        for call in mappings(delta.get("tool_calls")):
            chunks.append(self._delta(tool_calls=[{"index": self._calls, **_tool_call(call)}]))
            self._calls += 1
        if choice.get("stop_reason") or choice.get("finish_reason"):
            chunks += self._finish(_finish_of(choice, self._calls > 0))
        return chunks


def _message(message: JSON) -> JSON:
    """Content as one text: this route knows no parts."""
    role = "system" if message["role"] == "developer" else message["role"]
    return {**message, "role": role, "content": text_in(message)}


def _tool_choice(call: Call, choice: Any) -> str:
    if isinstance(choice, str) and choice in TOOL_CHOICES:
        if TOOL_CHOICES[choice] != choice:
            call.adjusted.append(Adjustment("tool_choice", f"sent as {TOOL_CHOICES[choice]}"))
        return TOOL_CHOICES[choice]
    call.adjusted.append(Adjustment("tool_choice", "sent as any, as no tool can be named"))
    return "any"


def _tool_call(call: Mapping[str, Any]) -> JSON:
    function = mapping(call.get("function"))
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else wire.encode(arguments or {}).decode()
    name = string(call, "id")
    return {"id": name, "type": "function", "function": {"name": string(function, "name"), "arguments": text}}


def _finish_of(choice: Mapping[str, Any], calls: bool) -> str:
    reason = choice.get("stop_reason") or choice.get("finish_reason")
    return REASONS.get(str(reason), "stop") if not calls else "tool_calls"


def _usage(content: Mapping[str, Any]) -> Usage:
    told = mapping(content.get("usage"))
    return wire.usage(told.get("prompt_tokens"), told.get("completion_tokens"))
