"""Cohere's first chat route: Command R as clouds host it, and `/v1/chat` at Cohere itself.

The last thing said is a field of its own beside the history; tools are described and called in Cohere's own way.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers import problems, wire
from connections.providers.calls import JSON, Adjustment, Call, Frame, Mode, Reply, Usage
from connections.providers.contract import EventReader
from connections.providers.conversation import arguments_of, function_of, name_of
from connections.providers.errors import RequestRefused
from connections.providers.model_families.cohere_text import FAILURES, REASONS, P, one_penalty
from connections.providers.model_families.cohere_usage import usage_of
from connections.providers.model_families.family import (
    NOT_TOLD,
    Family,
    counted,
    ended,
    list_of,
    metrics_of,
    refusal_in,
    text_in,
)
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import ShapedReader, chat_reply, decoded, mapping, mappings, string

ROLES: Mapping[str, str] = {"user": "USER", "assistant": "CHATBOT"}
TYPES: Mapping[str, str] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
}
"""What JSON Schema calls the types that these models know."""
DESCRIBED = frozenset({"type", "description"})


class CohereChat(Family):
    name = "cohere-command-r"
    mode = Mode.CHAT
    parameters = ParameterTable.of(
        "max_tokens",
        "seed",
        "tool_choice",
        "tools",
        max_completion_tokens=Rule("max_tokens"),
        frequency_penalty=Rule(minimum=0, maximum=1),
        presence_penalty=Rule(minimum=0, maximum=1),
        stop=Rule("stop_sequences"),
        temperature=Rule(minimum=0, maximum=1),
        top_k=Rule("k", minimum=0, maximum=500),
        top_p=P,
    )

    def body(self, call: Call) -> JSON:
        given = {name: wire.plain(value) for name, value in self.parameters_for(call.target).apply(call).items()}
        one_penalty(call, given)
        if "stop_sequences" in given:
            given["stop_sequences"] = list_of(given["stop_sequences"])
        conversation = _Conversation(call, given.pop("messages")).body()
        tools = _tools(call, given, asked="tool_results" in conversation)
        return {**conversation, **given, **({"tools": tools} if tools else {})}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        content = decoded(body, secrets)
        calls = _calls(content, string(content, "generation_id"))
        if not isinstance(content.get("text"), str) and not calls:
            raise refusal_in(content, body, secrets)
        usage = counted(usage_of(mapping(content.get("meta"))), told)
        finish = finish_of(content.get("finish_reason"), bool(calls))
        message: JSON = {"content": string(content, "text") or (None if calls else "")}
        name = string(content, "generation_id")
        return chat_reply({**message, "tool_calls": calls} if calls else message, finish, usage, name=name)

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return ChatReader(secrets, call.wants_usage)


def finish_of(reason: Any, calls: bool) -> str:
    """Raises what a reason amounts to that means that there is no answer."""
    if str(reason) in FAILURES:
        raise ended(FAILURES[str(reason)], str(reason))
    return "tool_calls" if calls else REASONS.get(str(reason), "stop")


# --- the conversation ----------------------------------------------------------------------------------------


class _Conversation:
    """Messages as history, the last thing said, and what tools answered to it."""

    def __init__(self, call: Call, messages: list[JSON]) -> None:
        self.call = call
        system = [message for message in messages if message["role"] in {"system", "developer"}]
        self.preamble = "\n\n".join(filter(None, map(text_in, system)))
        self.turns = [message for message in messages if message not in system]
        if system != messages[: len(system)]:
            self._report("changed: all system text moved to the front")

    def _report(self, what: str) -> None:
        self.call.adjusted.append(Adjustment("messages", what))

    def body(self) -> JSON:
        asked = [place for place, turn in enumerate(self.turns) if turn["role"] == "user"]
        if not self.turns and self.preamble:
            self._report("changed: system text sent as the user's")
            return {"message": self.preamble}
        if not asked or self.turns[-1]["role"] == "assistant":
            raise RequestRefused("The last message must be the user's, or a tool's answer.", status=400)
        last = asked[-1]
        body: JSON = {"message": text_in(self.turns[last])}
        if history := self._history(self.turns[:last]):
            body["chat_history"] = history
        if results := _results(self.turns[last + 1 :]):
            body["tool_results"] = results
        return {**body, "preamble": self.preamble} if self.preamble else body

    def _history(self, turns: Sequence[JSON]) -> list[JSON]:
        texts = [(ROLES.get(turn["role"]), text_in(turn)) for turn in turns]
        if any(role is None for role, _ in texts) or any(turn.get("tool_calls") for turn in turns):
            self._report("changed: earlier calls of tools left out")
        return [{"role": role, "message": text} for role, text in texts if role and text]


def _results(turns: Sequence[JSON]) -> list[JSON]:
    """Each call of a tool since the user's last word, with what the tool answered."""
    calls = {call.get("id"): call for turn in turns for call in turn.get("tool_calls") or []}
    results = []
    for turn in turns:
        if turn["role"] == "tool":
            if (call := calls.get(turn.get("tool_call_id"))) is None:
                raise RequestRefused("A tool's answer names a tool_call_id that no message called.", status=400)
            made = {"name": name_of(call), "parameters": arguments_of(call)}
            results.append({"call": made, "outputs": [_output(text_in(turn))]})
    return results


def _output(text: str) -> JSON:
    """An object; a bare text becomes one."""
    try:
        said = json.loads(text)
    except ValueError:
        said = text
    return said if isinstance(said, dict) else {"result": said}


# --- tools ---------------------------------------------------------------------------------------------------


def _tools(call: Call, given: JSON, *, asked: bool) -> list[JSON]:
    tools, choice = given.pop("tools", None) or [], given.pop("tool_choice", None)
    if choice == "none" and tools and not asked:
        call.adjusted.append(Adjustment("tool_choice", "sent as no tools"))
        return []
    if (choice is not None and choice != "auto") or (choice == "auto" and not tools):
        call.adjusted.append(Adjustment("tool_choice", "dropped"))
    elif choice == "auto":
        call.adjusted.append(Adjustment("tool_choice", "left to the model"))
    made = [_tool(tool) for tool in tools]
    if any(_is_deep(tool) for tool in tools):
        call.adjusted.append(Adjustment("tools", "reduced to names, types and descriptions"))
    return made


def _tool(tool: JSON) -> JSON:
    function = function_of(tool)
    schema = function.get("parameters") or {}
    needed = schema.get("required") or []
    definitions = {name: _definition(one, name in needed) for name, one in _properties(schema).items()}
    described = {"name": function["name"], "description": function.get("description") or function["name"]}
    return {**described, **({"parameter_definitions": definitions} if definitions else {})}


def _definition(schema: Mapping[str, Any], required: bool) -> JSON:
    kind = schema.get("type")
    made: JSON = {"type": TYPES.get(kind, "str") if isinstance(kind, str) else "str", "required": required}
    return {"description": schema["description"], **made} if schema.get("description") else made


def _is_deep(tool: JSON) -> bool:
    """Whether a schema says more than these models can be told."""
    properties = _properties(tool["function"].get("parameters") or {})
    return any(schema.keys() - DESCRIBED or not isinstance(schema.get("type"), str) for schema in properties.values())


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return {name: mapping(one) for name, one in mapping(schema.get("properties")).items()}


# --- answers -------------------------------------------------------------------------------------------------


def _calls(content: Mapping[str, Any], generation: str, start: int = 0) -> list[JSON]:
    """Calls of tools; they have no ids there, so they get theirs from the answer's and their place."""
    calls = []
    for place, call in enumerate(mappings(content.get("tool_calls")), start):
        function = {"name": string(call, "name"), "arguments": wire.encode(call.get("parameters") or {}).decode()}
        calls.append({"id": f"call_{generation}_{place}", "type": "function", "function": function})
    return calls


class ChatReader(ShapedReader):
    """A stream of events that say their kind in `event_type`."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._called = 0

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done:
            return ()
        event = mapping(wire.decode(wire.ANY, frame.data, self._secrets))
        self.usage = counted(metrics_of(event), self.usage)
        match event.get("event_type"):
            case "stream-start":
                self._name = string(event, "generation_id")
            case "text-generation":
                return self._text(string(event, "text"))
            case "tool-calls-generation":
                return self._calls(event)
            case "stream-end":
                return self._over(event)
            case None if event.get("error") or event.get("message"):
                raise problems.inside(event, self._secrets)
        return ()

    def _calls(self, event: Mapping[str, Any]) -> list[bytes]:
        calls = _calls(event, self._name, self._called)
        chunks = [self._delta(tool_calls=[{"index": self._called + at, **call}]) for at, call in enumerate(calls)]
        self._called += len(calls)
        self._heard = self._heard or bool(calls)
        return chunks

    def _over(self, event: Mapping[str, Any]) -> list[bytes]:
        """The end repeats the whole answer; only what did not come before is said."""
        self._done = True
        response = mapping(event.get("response"))
        self.usage = counted(usage_of(mapping(response.get("meta"))), self.usage)
        chunks = [] if self._heard else self._text(string(response, "text"))
        chunks += [] if self._called else self._calls(response)
        return chunks + self._finish(finish_of(event.get("finish_reason"), self._called > 0))
