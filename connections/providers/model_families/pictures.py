"""What families that draw share: sizes, and what a filter says instead of a picture."""

import re
from collections.abc import Iterable, Sequence

from connections.providers import images
from connections.providers.calls import JSON, Adjustment, Call
from connections.providers.errors import ContentFiltered
from connections.providers.scrubbing import scrub

FILTERED = re.compile(r"filter|moderat|blocked|content polic|acceptable use|responsible ai", re.IGNORECASE)


def filtered(words: str, secrets: Sequence[str]) -> ContentFiltered:
    """The provider's filter took the picture out; nothing is shown in its place."""
    evidence = scrub(words, secrets)
    return ContentFiltered("The provider's filter took the picture out. Change the prompt.", evidence=evidence)


def size_taken(call: Call, given: JSON) -> tuple[int, int] | None:
    """Width and height as asked for; None: left to the model, as `auto` does."""
    wished = given.pop("size", None)
    size = images.size_of(wished)
    if size is None and wished is not None:
        call.adjusted.append(Adjustment("size", "left to the model"))
    return size


def nearest(size: tuple[int, int], sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The one of these whose shape comes nearest, and of those the one whose area does."""
    wanted, area = size[0] / size[1], size[0] * size[1]

    def distance(one: tuple[int, int]) -> tuple[float, int]:
        ratio = one[0] / one[1]
        return max(wanted / ratio, ratio / wanted), abs(one[0] * one[1] - area)

    return min(sizes, key=distance)
