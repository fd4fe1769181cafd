"""JSON and token counts as they come over the wire, where anything may come."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from connections.providers import problems
from connections.providers.calls import JSON, Usage

T = TypeVar("T")

MAX_TOKENS = 10_000_000
"""Nobody can use more tokens in one call."""

encode = msgspec.json.Encoder().encode
ANY = msgspec.json.Decoder(Any)


def decode(decoder: msgspec.json.Decoder[T], data: bytes, secrets: Sequence[str]) -> T:
    """Read JSON into `decoder`'s type. Raises BadReply."""
    try:
        if not data.isascii():
            str(data, "utf-8")  # parts that are passed on unread must be sound too
        return decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise problems.unreadable(data, secrets) from error


def fields(data: bytes) -> JSON:
    """The object that some bytes are; none where they are something else, such as a proxy's error page."""
    try:
        content = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def plain(value: Any) -> Any:
    """A value of `Call.body`, decoded where the gateway left it raw."""
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def one_line(data: bytes) -> bytes:
    """JSON that fits on one `data:` line."""
    return msgspec.json.format(data, indent=-1) if b"\n" in data else data


def usage(
    prompt: Any,
    completion: Any,
    *,
    cached: Any = 0,
    cache_write: Any = 0,
    reasoning: Any = 0,
    suspect: bool = False,
) -> Usage:
    """Token counts as a provider reports them, made safe; parts never exceed the whole."""
    given, odd_prompt = count(prompt)
    spent, odd_completion = count(completion)
    suspect = suspect or odd_prompt or odd_completion
    if not (cached or cache_write or reasoning):  # as most calls have it
        return Usage(given, spent, suspect=suspect)
    counts = [count(value) for value in (cached, cache_write, reasoning)]
    read, written, thought = [number for number, _ in counts]
    return Usage(
        prompt_tokens=given,
        completion_tokens=spent,
        cached_tokens=min(read or 0, given or 0),
        cache_write_tokens=min(written or 0, given or 0),
        reasoning_tokens=min(thought or 0, spent or 0),
        suspect=suspect or any(mended for _, mended in counts),
    )


def count(value: Any) -> tuple[int | None, bool]:
    """The number, and whether it had to be mended."""
    if value is None or (type(value) is int and 0 <= value <= MAX_TOKENS):
        return value, False
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None, True
    clamped = min(max(number, 0), MAX_TOKENS)
    return clamped, clamped != value or isinstance(value, bool)
