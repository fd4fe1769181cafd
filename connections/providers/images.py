"""Pictures in OpenAI's shape, and sizes for systems that know only aspect ratios."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

import msgspec
from msgspec import structs

from connections.providers import problems, wire
from connections.providers.calls import Reply, Usage
from connections.providers.errors import ContentFiltered


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: its bytes in base64, or where it lies."""

    base64: str = ""
    url: str = ""
    revised_prompt: str = ""


class _Whole(msgspec.Struct):
    data: list[dict[str, Any]] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None


_WHOLE = msgspec.json.Decoder(_Whole)


def reply_of(pictures: Sequence[Picture], usage: Usage | None = None, model: str = "") -> Reply:
    """The answer with these pictures. None at all is what a provider's filter leaves."""
    if not pictures:
        raise ContentFiltered("The provider's filter let no picture through. Change the prompt.")
    counted = structs.replace(usage or Usage(0, 0), images=len(pictures))
    return Reply(wire.encode({"created": int(time()), "data": list(map(_item, pictures))}), counted, "stop", model)


def _item(picture: Picture) -> dict[str, str]:
    named = {"b64_json": picture.base64, "url": picture.url, "revised_prompt": picture.revised_prompt}
    return {name: value for name, value in named.items() if value}


def openai_reply(body: bytes, secrets: Sequence[str]) -> Reply:
    """An answer that has OpenAI's shape already."""
    whole = wire.decode(_WHOLE, body, secrets)
    if whole.error:
        raise problems.inside(wire.decode(wire.ANY, body, secrets), secrets)
    if not whole.data or not all(item.get("b64_json") or item.get("url") for item in whole.data):
        raise problems.unreadable(body, secrets)
    told = whole.usage if isinstance(whole.usage, dict) else {}
    usage = wire.usage(told.get("input_tokens", 0), told.get("output_tokens", 0))
    return Reply(body, structs.replace(usage, images=len(whole.data)), "stop", str(whole.model or "")[:300])


def size_of(size: Any) -> tuple[int, int] | None:
    """Width and height of `1024x768`; None: left to the provider."""
    width, _, height = str(size or "").partition("x")
    return (int(width), int(height)) if width.isdigit() and height.isdigit() else None


def nearest_ratio(size: tuple[int, int], ratios: Iterable[str]) -> str:
    """The one of these (as in `16:9`) that comes nearest to width by height."""
    wanted = size[0] / size[1]

    def distance(ratio: str) -> float:
        across, down = map(int, ratio.split(":"))
        return max(wanted * down / across, across / (wanted * down))

    return min(ratios, key=distance)
