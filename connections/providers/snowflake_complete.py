"""Snowflake's older route, `inference:complete`, which the first Cortex models are reached by."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from connections.providers import problems, wire
from connections.providers.calls import JSON, Adjustment, Call, Frame, Reply, Usage
from connections.providers.conversation import (
    arguments_of,
    data_of,
    described,
    function_of,
    name_of,
    parts_of,
    schema_of,
    text_of,
    unknown_part,
)
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import ShapedReader, chat_reply

TABLE = ParameterTable.of(
    "temperature",
    "top_p",
    "max_tokens",
    "tools",
    "tool_choice",
    "response_format",
    "guardrails",
    "provisioned_throughput_id",
    max_completion_tokens=Rule("max_tokens"),
)
CHOICES: Mapping[str, str] = {"auto": "auto", "required": "required"}


# --- what is asked ---------------------------------------------------------------------------------------


def body_of(call: Call) -> JSON:
    """Without `model`. It streams unless told not to."""
    given = {name: wire.plain(value) for name, value in TABLE.apply(call).items()}
    body: JSON = {"messages": turns_of(given.pop("messages")), "stream": call.stream}
    if tools := given.pop("tools", None):
        body["tools"] = [_tool(tool) for tool in tools]
    _choose(call, body, given.pop("tool_choice", None))
    _format(call, body, given.pop("response_format", None))
    return {**body, **given}


def turns_of(messages: Iterable[JSON]) -> list[JSON]:
    """All system text first, then user and assistant in turn: neighbours of one role are one."""
    system = [text_of(message.get("content")) for message in messages if message["role"] in {"system", "developer"}]
    turns: list[JSON] = []
    for message in messages:
        if message["role"] in {"system", "developer"}:
            continue
        role = "assistant" if message["role"] == "assistant" else "user"
        items = _items(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content_list"] += items
        else:
            turns.append({"role": role, "content_list": items})
    head = [{"role": "system", "content": "\n\n".join(system)}] if system else []
    return head + [_plainest(turn) for turn in turns]


def _plainest(turn: JSON) -> JSON:
    """Text alone goes as `content`, which every model takes."""
    items = turn["content_list"]
    if all(item["type"] == "text" for item in items):
        return {"role": turn["role"], "content": "\n\n".join(item["text"] for item in items)}
    return turn


def _items(message: JSON) -> list[JSON]:
    if message["role"] == "tool":
        told = [{"type": "text", "text": text_of(message.get("content"))}]
        result = {"tool_use_id": message.get("tool_call_id", ""), "name": message.get("name") or "tool"}
        return [{"type": "tool_results", "tool_results": {**result, "content": told}}]
    said = [_part(part) for part in parts_of(message.get("content"))]
    return said + [_tool_use(call) for call in message.get("tool_calls") or []]


def _part(part: JSON) -> JSON:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": part["text"]}
        case "image_url":
            kind, data = data_of(part["image_url"]["url"])
            return {"type": "image", "details": {"type": "base64", "content": data, "content_type": kind}}
        case _:
            raise unknown_part(part)


def _tool_use(call: JSON) -> JSON:
    used = {"tool_use_id": call.get("id", ""), "name": name_of(call), "input": arguments_of(call)}
    return {"type": "tool_use", "tool_use": used}


def _tool(tool: JSON) -> JSON:
    function = function_of(tool)
    told = {"name": function["name"], **described(function), "input_schema": schema_of(function)}
    return {"tool_spec": {"type": "generic", **told}}


def _choose(call: Call, body: JSON, choice: Any) -> None:
    if choice is None:
        return
    if choice == "none":
        body.pop("tools", None)
        call.adjusted.append(Adjustment("tool_choice", "sent as no tools"))
    elif isinstance(choice, str) and choice in CHOICES and "tools" in body:
        body["tool_choice"] = {"type": CHOICES[choice]}
    elif isinstance(choice, dict) and isinstance(choice.get("function"), dict) and "tools" in body:
        body["tool_choice"] = {"type": "tool", "name": [choice["function"].get("name", "")]}
    else:
        call.adjusted.append(Adjustment("tool_choice", "dropped"))


def _format(call: Call, body: JSON, wished: Any) -> None:
    kind = wished.get("type") if isinstance(wished, dict) else None
    if kind == "json_schema":
        schema = (wished.get("json_schema") or {}).get("schema") or {"type": "object"}
        body["response_format"] = {"type": "json", "schema": schema}
    elif kind == "json_object":
        body["response_format"] = {"type": "json", "schema": {"type": "object"}}
    elif kind is not None and kind != "text":
        call.adjusted.append(Adjustment("response_format", "dropped"))
    elif kind == "text":
        call.adjusted.append(Adjustment("response_format", "left out, as text is usual"))


# --- what is answered ------------------------------------------------------------------------------------


class _Whole(msgspec.Struct):
    choices: list[JSON] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None
    error_code: Any = None


_WHOLE = msgspec.json.Decoder(_Whole)


def completion(body: bytes, model: str, secrets: Sequence[str]) -> Reply:
    whole = _decoded(body, secrets)
    if not whole.choices or not isinstance(whole.choices[0].get("message"), dict):
        raise problems.unreadable(body, secrets)
    message = whole.choices[0]["message"]
    calls = [_openai_call(item) for item in _uses(message)]
    told: JSON = {"content": _said(message), **({"tool_calls": calls} if calls else {})}
    name = str(whole.model or model)[:300]
    return chat_reply(told, "tool_calls" if calls else "stop", usage_of(whole.usage), model=name)


def usage_of(told: Any) -> Usage:
    told = told if isinstance(told, dict) else {}
    return wire.usage(
        told.get("prompt_tokens"), told.get("completion_tokens"), cached=told.get("cache_read_input_tokens", 0)
    )


def _decoded(body: bytes, secrets: Sequence[str]) -> _Whole:
    whole = wire.decode(_WHOLE, body, secrets)
    if whole.error or whole.error_code:
        raise problems.inside(wire.decode(wire.ANY, body, secrets), secrets)
    return whole


def _said(message: Mapping[str, Any]) -> str:
    """The same text may stand in up to three places; one of them is enough."""
    if isinstance(message.get("content"), str):
        return str(message["content"])
    items = message.get("content_list")
    texts = [item.get("text") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return "".join(text for text in texts if isinstance(text, str))


def _uses(message: Mapping[str, Any]) -> list[JSON]:
    items = message.get("content_list")
    found = [item.get("tool_use") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return [use for use in found if isinstance(use, dict)]


def _openai_call(use: Mapping[str, Any]) -> JSON:
    function = {"name": str(use.get("name") or ""), "arguments": wire.encode(use.get("input") or {}).decode()}
    return {"id": str(use.get("tool_use_id") or ""), "type": "function", "function": function}


class CompleteReader(ShapedReader):
    """One stream of the older route. It says neither a reason nor that it is over: its usage is the end."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool, model: str) -> None:
        super().__init__(secrets, wants_usage)
        self.model = model
        self._calls = -1
        self._told = False

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if frame.data == b"[DONE]" or self._done:
            self._done = True
            return ()
        whole = _decoded(frame.data, self._secrets)
        if isinstance(whole.usage, dict) and whole.usage:
            self.usage, self._told = usage_of(whole.usage), True
        deltas = [choice.get("delta") for choice in whole.choices or ()]
        return [chunk for delta in deltas if isinstance(delta, dict) for chunk in self._of(delta)]

    def end(self) -> Sequence[bytes]:
        self._done = self._done or self._told
        self._check_end()
        return [*self._finish("tool_calls" if self._calls >= 0 else "stop"), *super().end()]

    def _of(self, delta: Mapping[str, Any]) -> Sequence[bytes]:
        if delta.get("type") != "tool_use":
            return self._text(_said(delta))
        self._heard = True
        return [self._delta(tool_calls=[self._call(delta)])]

    def _call(self, delta: Mapping[str, Any]) -> JSON:
        """A tool's name comes first, its arguments in pieces after it."""
        arguments = delta.get("input")
        function: JSON = {"arguments": arguments if isinstance(arguments, str) else ""}
        if not delta.get("tool_use_id"):
            return {"index": self._calls, "function": function}
        self._calls += 1
        function["name"] = str(delta.get("name") or "")
        return {"index": self._calls, "id": str(delta["tool_use_id"]), "type": "function", "function": function}
