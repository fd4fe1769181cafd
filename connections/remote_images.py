"""Pictures that a prompt only points to, fetched for providers that do not fetch them."""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from msgspec import Raw

from connections.providers import wire
from connections.providers.calls import Adjustment, Call, Mode, Outgoing
from connections.providers.contract import Provider
from connections.providers.errors import AddressRefused, ProviderError, RequestRefused
from connections.transport import Timeouts, Transport

MAX_IMAGES = 20
MAX_BYTES = 20 * 2**20
"""Of all pictures of one call together."""
TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


async def inlined(transport: Transport, provider: Provider, call: Call, timeouts: Timeouts) -> Call:
    """The call with its pictures inside, where the provider needs that. Raises RequestRefused."""
    if call.mode is not Mode.CHAT or not _mentions_images(call) or provider.abilities(call.target).image_urls:
        return call
    messages = wire.plain(call.body["messages"])
    urls = list(dict.fromkeys(_remote(messages)))
    if not urls:
        return call
    if len(urls) > MAX_IMAGES:
        raise RequestRefused(f"The messages point to more than {MAX_IMAGES} pictures.")
    fetched = await asyncio.gather(*(_fetch(transport, url, timeouts) for url in urls))
    if sum(map(len, fetched)) > MAX_BYTES * 4 // 3:
        raise RequestRefused(f"The pictures have more than {MAX_BYTES:,} bytes together.")
    call.adjusted.append(Adjustment("image_url", "fetched and sent along"))
    data = dict(zip(urls, fetched, strict=True))
    return replace(call, body={**call.body, "messages": [_with(message, data) for message in messages]})


def _mentions_images(call: Call) -> bool:
    """Most prompts do not, and are not decoded to learn that."""
    messages = call.body["messages"]
    return not isinstance(messages, Raw) or b"image_url" in bytes(messages)


def _remote(messages: Sequence[Any]) -> list[str]:
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    urls = [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]
    return [url for url in urls if not url.startswith("data:")]


async def _fetch(transport: Transport, url: str, timeouts: Timeouts) -> str:
    """The picture as a data URL. Nothing of the connection goes along: neither its key nor its authority."""
    try:
        answer = await transport.send(Outgoing("GET", url), timeouts=timeouts)
    except AddressRefused as error:
        raise RequestRefused("The address of a picture is not allowed. Send the picture itself.") from error
    except ProviderError as error:
        raise RequestRefused("A picture could not be fetched. Send the picture itself.") from error
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.status != 200 or kind not in TYPES:
        raise RequestRefused("An address given for a picture holds none. Send a PNG, JPEG, GIF or WebP picture.")
    return f"data:{kind};base64,{base64.b64encode(answer.body).decode()}"


def _with(message: Any, data: dict[str, str]) -> Any:
    if not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [_part_with(part, data) for part in message["content"]]}


def _part_with(part: Any, data: dict[str, str]) -> Any:
    image = part.get("image_url") if part.get("type") == "image_url" else None
    return {**part, "image_url": {**image, "url": data[image["url"]]}} if image and image["url"] in data else part
