"""One field of a call's body: decoded strictly and, if it is a parameter, checked against `parameters.KNOWN`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from connections.providers.parameters import Parameter
from gateway import strict_json
from gateway.envelope import Problem
from gateway.schemas import check_schema

MAX_PARAMETER = 2**20
"""Bytes of one parameter: all of it is decoded and walked through, which the messages are not."""
MAX_STOPS = 16
MAX_TEXT_PARAMETER = 10_000

_any = msgspec.json.Decoder()


def decode(decoder: "msgspec.json.Decoder[Any]", name: str, raw: msgspec.Raw | None) -> Any:
    """The value; None where the field is missing or null. Raises Problem."""
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("invalid_value", f"The field {name} is not acceptable: {reason(error)}.", param=name) from error


def reason(error: Exception) -> str:
    """Why something could not be decoded, in words for the caller."""
    if isinstance(error, RecursionError):
        return strict_json.NESTED
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error).removeprefix("JSON is malformed: ").rstrip(".")


def parameter(name: str, known: Parameter, raw: msgspec.Raw) -> Any:
    """A parameter's value. Raises Problem."""
    if len(memoryview(raw)) > MAX_PARAMETER:
        raise Problem("invalid_value", f"The field {name} is larger than {MAX_PARAMETER} bytes.", param=name)
    value = decode(_any, name, raw)
    problem = None if value is None else _problem_with(name, known, value)
    if problem:
        raise Problem("invalid_value", f"The field {name} {problem}.", param=name)
    return value


def _problem_with(name: str, parameter: Parameter, value: Any) -> str:
    """What is wrong with a parameter's value; empty: nothing."""
    kind = type(value)
    if kind not in TYPES[parameter.kind]:
        return f"must be {ARTICLES[parameter.kind]}"
    if kind in CONTAINERS:
        return _problem_inside(name, value)
    if kind is str and name == "tools":
        return "must be a list"
    if kind is str and len(value) > MAX_TEXT_PARAMETER:
        return f"has more than {MAX_TEXT_PARAMETER} characters"
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None and not low <= value <= high:
        return f"must lie between {low:,} and {high:,}"
    return ""


def _problem_inside(name: str, value: list[Any] | dict[str, Any]) -> str:
    if len(value) > (MAX_STOPS if name == "stop" else 1_024):
        return "has too many entries"
    if name == "stop" and not all(isinstance(item, str) and item for item in value):
        return "must be a text or a list of texts"
    if name == "tools" and not all(map(_is_tool, value)):
        return "must be a list of objects, and a function among them needs a name"
    try:
        strict_json.check(value)
        for schema in _schemas(name, value):
            check_schema(schema)
    except ValueError as error:
        return f"is refused: {error}"
    return ""


def _is_tool(tool: Any) -> bool:
    """Of type function with a name, or of a provider's own type."""
    if not isinstance(tool, dict):
        return False
    function = tool.get("function")
    return function is None or (isinstance(function, dict) and isinstance(function.get("name"), str))


def _schemas(name: str, value: Any) -> list[Any]:
    """The JSON schemas in a response format or in tool definitions."""
    if name == "tools":
        functions = [tool.get("function") for tool in value if isinstance(tool, dict)]
        return [
            function["parameters"] for function in functions if isinstance(function, dict) and "parameters" in function
        ]
    if name == "response_format" and isinstance(value, dict) and value.get("type") == "json_schema":
        wrapped = value.get("json_schema")
        return [wrapped.get("schema", {}) if isinstance(wrapped, dict) else None]
    return []


TYPES: Mapping[str, frozenset[type]] = {
    "number": frozenset({int, float}),
    "integer": frozenset({int}),
    "boolean": frozenset({bool}),
    "string": frozenset({str}),
    "list": frozenset({list, str}),
    "object": frozenset({dict}),
    "any": frozenset({bool, int, float, str, list, dict}),
}
CONTAINERS = frozenset({list, dict})
ARTICLES: Mapping[str, str] = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "a text",
    "list": "a list",
    "object": "an object",
}
