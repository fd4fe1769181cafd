"""JSON as we accept it from anybody: no key twice, no bottomless nesting, nothing a database chokes on."""

import json
import math
from typing import Any

MAX_DEPTH = 64
NESTED = f"nested deeper than {MAX_DEPTH} levels"


def loads(body: bytes) -> Any:
    """Parse and check a whole body. Raises ValueError with the reason."""
    try:
        found = json.loads(body.decode(), object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError(NESTED) from error
    check(found)
    return found


def check(value: Any, depth: int = 0) -> None:
    """Raise ValueError for what parses as JSON but cannot be stored or forwarded."""
    if depth > MAX_DEPTH:
        raise ValueError(NESTED)
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check(item, depth + 1)


def check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("a text holds a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text holds half a surrogate pair") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names the same key twice")
    return found
