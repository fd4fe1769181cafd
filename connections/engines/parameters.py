"""Typed parameters out of a signature: what a class takes, and texts turned into what it wants.

A form and a command line have only texts, so "7" becomes 7 where the signature says int.
"""

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from connections.engines.told import Refused

KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "list", dict: "object"}
YES, NO = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
WANTED = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "list": "a list, as in [1, 2]",
    "object": 'an object, as in {"a": 1}',
}


@dataclass(frozen=True)
class Parameter:
    """One argument of a signature, as a form can show it."""

    name: str
    kind: str
    """string, number, integer, boolean, list, object, or any"""
    required: bool
    default: Any = None
    choices: tuple[Any, ...] = ()
    optional: bool = False
    """Whether None is a value too."""

    def as_json(self) -> dict[str, Any]:
        default = self.default if isinstance(self.default, str | int | float | bool | list | dict) else None
        return {**vars(self), "default": default, "choices": list(self.choices)}

    def value(self, given: Any) -> Any:
        """What is given, as the signature wants it. Raises Refused."""
        if given is None or (self.optional and isinstance(given, str) and given.strip().lower() in {"", "none"}):
            return None
        found = _coerced(given, self.kind)
        if found is None:
            raise Refused(f"`{self.name}` must be {WANTED.get(self.kind, 'a text')}, not {given!r}.")
        if self.choices and found not in self.choices:
            raise Refused(f"`{self.name}` must be one of {', '.join(map(str, self.choices))}, not {given!r}.")
        return found


@dataclass(frozen=True)
class Signature:
    """All that a function takes beyond what we give it ourselves."""

    parameters: Mapping[str, Parameter]
    takes_more: bool
    """Whether it has `**kwargs`."""

    @classmethod
    def of(cls, function: Callable[..., Any], ours: frozenset[str] = frozenset()) -> "Signature":
        hints = _hints(function)
        listed = inspect.signature(function).parameters.values()
        named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        found = [one for one in listed if one.kind in named and one.name not in ours | {"self"}]
        takes_more = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in listed)
        return cls({one.name: _parameter(one, hints.get(one.name, Any)) for one in found}, takes_more)

    def values(self, given: Mapping[str, Any], what: str) -> dict[str, Any]:
        """The given arguments, each as its annotation wants it; an unknown one is refused, never dropped."""
        unknown = [name for name in given if name not in self.parameters]
        if unknown and not self.takes_more:
            known = ", ".join(self.parameters) or "none"
            raise Refused(f"{what} takes no `{unknown[0]}`. It takes: {known}.")
        return {
            name: self.parameters[name].value(value) if name in self.parameters else value
            for name, value in given.items()
        }


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # annotations that name what was imported for type checkers only
        return {}


def _parameter(one: inspect.Parameter, annotation: Any) -> Parameter:
    required = one.default is inspect.Parameter.empty
    default = None if required else one.default
    optional = default is None and not required
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not types.NoneType]
        optional = optional or len(parts) < len(get_args(annotation))
        annotation = parts[0] if len(parts) == 1 else Any
    if annotation is Any and default is not None:
        annotation = type(default)
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    bare = type(choices[0]) if choices else get_origin(annotation) or annotation
    return Parameter(one.name, KINDS.get(bare, "any"), required, default, choices, optional)


def _coerced(given: Any, kind: str) -> Any:
    """None: it does not fit."""
    if not isinstance(given, str):
        return _fitting(given, kind)
    if kind in {"list", "object"}:
        return _fitting(_json(given), kind)
    try:
        match kind:
            case "boolean":
                return {**dict.fromkeys(YES, True), **dict.fromkeys(NO, False)}.get(given.strip().lower())
            case "integer":
                return int(given)
            case "number":
                return float(given)
    except ValueError:
        return None
    return given


def _fitting(given: Any, kind: str) -> Any:
    if kind == "number" and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    wanted = next((python for python, name in KINDS.items() if name == kind), object)
    return given if isinstance(given, wanted) and (wanted is not int or not isinstance(given, bool)) else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
