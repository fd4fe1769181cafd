"""What the upstream hears and says, free of any dialect."""

import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

ABSENT = object()
"""A value that is to be left out of the answer."""
AS_COUNTED = object()


@dataclass
class Request:
    """One request as it arrived, and how its client behaved afterwards."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    arrived_at: float = field(default_factory=time.monotonic)
    events_sent: int = 0
    bytes_sent: int = 0
    disconnected: threading.Event = field(default_factory=threading.Event)
    """The client closed before the answer was complete."""
    disconnected_at: float | None = None
    bill: "Bill | None" = None
    """What this request was charged so far; None: nothing."""
    told: bool = False
    """The proper answer, with the usage that is billed, was sent to its end."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def dialect(self) -> str:
        return self.path.split("/")[1]

    @property
    def route(self) -> str:
        """The path behind the dialect's prefix, without its query."""
        return self.path.removeprefix(f"/{self.dialect}").partition("?")[0]

    def mark_disconnected(self) -> None:
        self.disconnected_at = time.monotonic()
        self.disconnected.set()


@dataclass
class Plan:
    """What to answer; a script changes some of it."""

    call_id: str
    text: str | None = None
    """None: the last user text comes back."""
    chunks: int | None = None
    """This many words instead of a text."""
    delay: float = 0.0
    """Seconds before each event of a stream, or before a whole answer."""
    cached: int = 0
    reasoning: int = 0
    usage: Any = AS_COUNTED
    """ABSENT or a literal; with AS_COUNTED the two numbers below may still differ."""
    prompt_tokens: Any = AS_COUNTED
    completion_tokens: Any = AS_COUNTED
    usage_again: tuple[Any, Any] | None = None
    """A second, different usage in a later event: (prompt, completion)."""
    model: str = ""
    finish: str = ""
    """In the dialect's own words."""
    created: int = 1_790_000_000
    stream: bool | None = None
    """Answer as a stream or as a whole, whatever was asked."""
    twist: str = ""
    """`missing`, `index` or `finish_twice`: what is odd about the choices."""

    def words(self, prompt: str) -> list[str]:
        """The answer, one token each; joined they are the text."""
        text = prompt if self.text is None else self.text
        if self.chunks is not None:
            text = " ".join(f"word{number}" for number in range(self.chunks))
        return pieces(text)

    @property
    def tells(self) -> bool:
        """Whether the answer says what is billed."""
        return all(told is AS_COUNTED for told in (self.usage, self.prompt_tokens, self.completion_tokens))

    def count(self, name: str, counted: int) -> Any:
        given = getattr(self, name)
        return counted if given is AS_COUNTED else given


@dataclass
class Bill:
    """Tokens of one call, as the upstream charges them."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0


@dataclass
class Whole:
    """One whole answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    bill: Bill | None = None


@dataclass
class Event:
    """One event of a stream, framed for the wire, and the tokens charged for it."""

    data: bytes
    tokens: int = 0


@dataclass
class Stream:
    """A stream; its last event is the dialect's proper end. `bill` starts with the prompt alone."""

    events: list[Event]
    bill: Bill
    content_type: str = "text/event-stream; charset=utf-8"


def pieces(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def sse(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + dump(value) + b"\n\n"


def sample(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A value that a simple JSON schema accepts."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > 8:
        return None
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#").strip("/").split("/"):
            target = target[part] if part else target
        return sample(target, root, depth + 1)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return sample(schema[choice][0], root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: sample(inner, root, depth + 1) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample(schema.get("items", {}), root, depth + 1) for _ in range(max(1, schema.get("minItems", 1)))]
    if kind in {"integer", "number"}:
        return schema.get("minimum", 1)
    return {"boolean": True, "null": None}.get(kind, "text".ljust(schema.get("minLength", 0), "x"))
