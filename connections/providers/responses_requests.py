"""A chat as OpenAI's Responses API takes it, for models that answer nowhere else.

Nothing is kept at OpenAI (`store: false`) unless the caller wishes it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from connections.providers import wire
from connections.providers.calls import JSON, Adjustment, Call
from connections.providers.parameters import ParameterTable, Rule

LEAST = 16
"""The smallest limit that the API takes."""
TABLE = ParameterTable.of(
    *("temperature", "top_p", "response_format", "tools", "tool_choice", "parallel_tool_calls"),
    *("reasoning_effort", "verbosity", "metadata", "store", "service_tier"),
    *("prompt_cache_key", "safety_identifier", "user"),
    max_tokens=Rule("max_output_tokens", minimum=LEAST),
    max_completion_tokens=Rule("max_output_tokens", minimum=LEAST),
)
UNSAID = frozenset({"name", "reasoning_content", "annotations", "audio", "function_call"})
"""Fields of messages that have no place in the input."""


def body_of(call: Call, table: ParameterTable) -> JSON:
    """The body without the model's name."""
    given = {name: wire.plain(value) for name, value in table.apply(call).items()}
    messages = given.pop("messages", [])
    _tell_unsaid(call, messages)
    body: JSON = {"input": [item for message in messages for item in _items(message)], "store": False}
    effort, verbosity = given.pop("reasoning_effort", None), given.pop("verbosity", None)
    shape = given.pop("response_format", None)
    if effort is not None:
        body["reasoning"] = {"effort": effort}
    text = {"format": _format(shape)} if shape is not None else {}
    if verbosity is not None:
        text["verbosity"] = verbosity
    if text:
        body["text"] = text
    if "tools" in given:
        body["tools"] = [_tool(tool) for tool in given.pop("tools")]
    if "tool_choice" in given:
        body["tool_choice"] = _tool_choice(given.pop("tool_choice"))
    return {**body, **given}


def _tell_unsaid(call: Call, messages: Iterable[Mapping[str, Any]]) -> None:
    names = {name for message in messages for name in UNSAID if message.get(name)}
    call.adjusted.extend(Adjustment(f"messages.{name}", "dropped") for name in sorted(names))


# --- messages --------------------------------------------------------------------------------------------


def _items(message: Mapping[str, Any]) -> Iterable[JSON]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": _text(content)}
        return
    if role != "assistant":
        shown = content if isinstance(content, str) else [_part(part) for part in content or ()]
        yield {"role": role, "content": shown}
        return
    if said := _text(content) or message.get("refusal"):
        yield {"role": role, "content": said}
    for made in message.get("tool_calls") or ():
        yield {"type": "function_call", "call_id": made["id"], **_named(made["function"], ("name", "arguments"))}


def _part(part: Mapping[str, Any]) -> JSON:
    if part["type"] == "image_url":
        image = part["image_url"]
        return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
    return {"type": "input_text", "text": part.get("text") or part.get("refusal") or ""}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("refusal") or "" for part in content or ())


# --- parameters ------------------------------------------------------------------------------------------


def _format(shape: Mapping[str, Any]) -> JSON:
    if shape.get("type") != "json_schema":
        return dict(shape)
    named = _named(shape["json_schema"], ("name", "description", "schema", "strict"))
    return {"type": "json_schema", "schema": {"type": "object"}, **named}


def _tool(tool: Mapping[str, Any]) -> JSON:
    """Functions lie flat here, and are strict unless one says otherwise."""
    if tool.get("type") != "function" or "function" not in tool:
        return dict(tool)
    function = tool["function"]
    told = _named(function, ("name", "description", "parameters"))
    return {"type": "function", "parameters": None, "strict": bool(function.get("strict")), **told}


def _tool_choice(choice: Any) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    if isinstance(choice.get("function"), Mapping):
        return {"type": "function", "name": choice["function"]["name"]}
    if isinstance(allowed := choice.get("allowed_tools"), Mapping):
        return {"type": "allowed_tools", "mode": allowed["mode"], "tools": [_bare(one) for one in allowed["tools"]]}
    return dict(choice)


def _bare(tool: Mapping[str, Any]) -> JSON:
    function = tool.get("function")
    return {"type": "function", "name": function["name"]} if isinstance(function, Mapping) else dict(tool)


def _named(source: Mapping[str, Any], names: Iterable[str]) -> JSON:
    return {name: source[name] for name in names if source.get(name) is not None}
