"""Where something stands in an answer: `choices[0].message.content`, or `.` for the answer itself."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator

MAX_LENGTH, MAX_STEPS = 300, 30
HERE = "."
"""The whole answer."""
_STEP = re.compile(r"""(?:^|\.)(?P<name>[^.\[\]\s"']+)|\[(?P<place>-?\d{1,6})\]|\["(?P<quoted>[^"\]]+)"\]""")
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}


class PathProblem(ValueError):
    """A path does not lead to what was looked for."""


def _checked(path: str) -> str:
    steps(path)
    return path


Path = Annotated[str, AfterValidator(_checked)]


def steps(path: str) -> list[str | int]:
    """The names and places that a path goes through. Raises PathProblem."""
    if len(path) > MAX_LENGTH:
        raise PathProblem(f"A path has at most {MAX_LENGTH} characters.")
    if path in {"", HERE}:
        return []
    found: list[str | int] = []
    end = 0
    while end < len(path):
        step = _STEP.match(path, end)
        if step is None:
            raise PathProblem(
                f"The path {path!r} cannot be read from {path[end:]!r} on. Write it as in choices[0].text."
            )
        place = step["place"]
        found.append(int(place) if place else step["name"] or step["quoted"])
        end = step.end()
    if len(found) > MAX_STEPS:
        raise PathProblem(f"A path has at most {MAX_STEPS} steps.")
    return found


def at(content: Any, path: str) -> Any:
    """What stands there. Raises PathProblem, which says how far the path leads."""
    found, passed = content, ""
    for step in steps(path):
        if isinstance(step, int):
            found = _item(found, step, path, passed)
            passed += f"[{step}]"
        else:
            found = _member(found, step, path, passed)
            passed += f".{step}" if passed else step
    return found


def text_at(content: Any, path: str) -> str:
    found = at(content, path)
    if not isinstance(found, str):
        raise PathProblem(f"The path {path} leads to {kind_of(found)}, not to a text.")
    return found


def number_at(content: Any, path: str) -> int:
    found = at(content, path)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise PathProblem(f"The path {path} leads to {kind_of(found)}, not to a number.")
    return int(found)


def kind_of(value: Any) -> str:
    return "null" if value is None else _KINDS.get(type(value), "something else")


def _item(found: Any, place: int, path: str, passed: str) -> Any:
    if not isinstance(found, list):
        raise PathProblem(f"The path {path} leads to nothing: {_named(passed)} is {kind_of(found)}, not a list.")
    if not -len(found) <= place < len(found):
        raise PathProblem(f"The path {path} leads to nothing: {_named(passed)} is a list of {len(found)}.")
    return found[place]


def _member(found: Any, name: str, path: str, passed: str) -> Any:
    if not isinstance(found, dict):
        raise PathProblem(f"The path {path} leads to nothing: {_named(passed)} is {kind_of(found)}, not an object.")
    if name not in found:
        names = ", ".join(sorted(found)[:8]) or "nothing"
        raise PathProblem(f"The path {path} leads to nothing: {_named(passed)} has no {name}, it has {names[:120]}.")
    return found[name]


def _named(passed: str) -> str:
    return passed or "the answer"
