"""Callers' JSON schemas, checked before a provider sees them.

We never evaluate them; a provider may, and one caller's schema must not hang what others use.
"""

import re
from itertools import pairwise
from typing import Any

from gateway import strict_json

MAX_PATTERN = 512
TOKENS = re.compile(r"\\.|\[(?:\\.|[^\]\\])*+(?:\]|\Z)|\{\d++(?:,\d*+)?\}|.", re.DOTALL)
"""Possessive, and a class without end reaches to the end: nothing is read twice."""
VARIES = re.compile(r"[*+|]|\{\d+,\d*\}")
REPEATS = re.compile(r"[*+]|\{(?!(?:\d,)?\d\})")
"""Often enough to matter: not `{3}`, not `{1,3}`."""


def check_schema(schema: Any) -> None:
    """Raise ValueError for a schema that refers outside, refers only to itself, or backtracks without end."""
    if not isinstance(schema, dict):
        raise ValueError("a schema must be an object")
    strict_json.check(schema)
    _walk(schema, schema, set())


def _walk(node: Any, root: dict[str, Any], sound: set[str]) -> None:
    if isinstance(node, list):
        for item in node:
            _walk(item, root, sound)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("$ref"), str):
        _follow(node["$ref"], root, sound)
    pattern = node.get("pattern")
    if isinstance(pattern, str) and (len(pattern) > MAX_PATTERN or _backtracks(pattern)):
        raise ValueError("a pattern may not repeat a group that repeats or branches, and has at most 512 characters")
    for item in node.values():
        _walk(item, root, sound)


def _backtracks(pattern: str) -> bool:
    """Whether a group that may match in several ways is itself repeated."""
    varying = [False]
    parts = TOKENS.findall(pattern)
    for part, following in pairwise([*parts, ""]):
        if part == "(":
            varying.append(False)
        elif part == ")" and len(varying) > 1:
            inner = varying.pop()
            if inner and REPEATS.match(following):
                return True
            varying[-1] |= inner
        elif VARIES.fullmatch(part):
            varying[-1] = True
    return False


def _follow(reference: str, root: dict[str, Any], sound: set[str]) -> None:
    """Follow references that lead straight to further references; a circle of them describes nothing.

    `sound`: those that are known to lead somewhere, so that a long chain is followed once.
    """
    seen: set[str] = set()
    while reference not in sound:
        if not reference.startswith("#"):
            raise ValueError("a schema may refer only to itself ('#/…')")
        if reference in seen:
            raise ValueError(f"the reference {reference[:60]} leads back to itself")
        seen.add(reference)
        node: Any = root
        for step in reference.removeprefix("#").split("/")[1:]:
            node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise ValueError(f"the reference {reference[:60]} leads nowhere")
        if not isinstance(node.get("$ref"), str):
            break
        reference = node["$ref"]
    sound |= seen
