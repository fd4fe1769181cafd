"""What Cohere counts: the tokens that were processed, and the far fewer units that it bills."""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from connections.providers import wire
from connections.providers.calls import Usage
from connections.providers.shapes import mapping


def usage_of(told: Mapping[str, Any]) -> Usage:
    """From an answer's `meta` (first version of the API) or `usage` (second). Its numbers may be floats."""
    tokens, billed = mapping(told.get("tokens")), mapping(told.get("billed_units"))
    counts = [wire.count(billed.get(name)) for name in ("input_tokens", "output_tokens", "search_units")]
    (asked, _), (answered, _), (searches, _) = counts
    processed = {name: tokens.get(name, billed.get(name)) for name in ("input_tokens", "output_tokens")}
    usage = wire.usage(
        processed["input_tokens"],
        processed["output_tokens"],
        cached=told.get("cached_tokens"),
        suspect=any(mended for _, mended in counts),
    )
    return structs.replace(
        usage, search_units=searches or 0, billed_prompt_tokens=asked, billed_completion_tokens=answered
    )
