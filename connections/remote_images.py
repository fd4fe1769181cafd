"""Pictures that a prompt or an answer only points to, fetched where whoever needs them does not fetch them.

The addresses come from callers and providers, so they reach nothing private that is not listed for them, and
nothing of the connection goes along: neither its key nor its authority.
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

from msgspec import Raw, structs

from connections import runtime
from connections.providers import wire
from connections.providers.calls import JSON, Adjustment, Call, Mode, Outgoing, Reply
from connections.providers.contract import Provider
from connections.providers.errors import AddressRefused, BadReply, ProviderError, RequestRefused
from connections.transport import Timeouts, Transport

MAX_IMAGES = 20
MAX_BYTES = 20 * 2**20
"""Of all pictures of one call together."""
AT_ONCE = 4
TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
TIMEOUTS = Timeouts(connect=5, first_byte=15, between=10, total=30)


# --- in what is asked ----------------------------------------------------------------------------------------


def to_inline(provider: Provider, call: Call) -> bool:
    """Whether the provider may need pictures inside the call."""
    chats = call.mode is call.target.mode is Mode.CHAT
    return chats and not provider.abilities(call.target).image_urls and _mentions_images(call)


async def inlined(call: Call) -> Call:
    """The call with its pictures inside. Raises RequestRefused."""
    messages = wire.plain(call.body["messages"])
    urls = list(dict.fromkeys(_remote(messages)))
    if not urls:
        return call
    if len(urls) > MAX_IMAGES:
        raise RequestRefused(f"The messages point to more than {MAX_IMAGES} pictures. Send fewer.")
    found = dict(zip(urls, await fetched(await runtime.picture_transport(), urls), strict=True))
    call.adjusted.append(Adjustment("image_url", "fetched and sent along"))
    return structs.replace(call, body={**call.body, "messages": [_with(message, found) for message in messages]})


def _mentions_images(call: Call) -> bool:
    """Most prompts do not, and are not decoded to learn that."""
    messages = call.body["messages"]
    return not isinstance(messages, Raw) or b"image_url" in bytes(messages)


def _remote(messages: Sequence[Any]) -> list[str]:
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    urls = [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]
    return [url for url in urls if not url.startswith("data:")]


def _with(message: JSON, found: dict[str, str]) -> JSON:
    if not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [_part_with(part, found) for part in message["content"]]}


def _part_with(part: JSON, found: dict[str, str]) -> JSON:
    image = part.get("image_url") if part.get("type") == "image_url" else None
    return {**part, "image_url": {**image, "url": found[image["url"]]}} if image and image["url"] in found else part


# --- in what is answered -------------------------------------------------------------------------------------


async def unpacked(call: Call, reply: Reply) -> Reply:
    """The reply with its pictures inside, where the caller wants them so and the provider says only where they lie."""
    if call.body.get("response_format") != "b64_json":
        return reply
    answer = json.loads(reply.body)
    outside = [item for item in answer["data"] if item.get("url") and not item.get("b64_json")]
    if not outside:
        return reply
    try:
        pictures = await fetched(await runtime.picture_transport(), [item["url"] for item in outside])
    except RequestRefused:
        call.adjusted.append(Adjustment("response_format", "answered as url: the picture could not be fetched"))
        return reply
    for item, picture in zip(outside, pictures, strict=True):
        item["b64_json"] = picture.partition(",")[2]
        del item["url"]
    return structs.replace(reply, body=wire.encode(answer))


# --- fetching ------------------------------------------------------------------------------------------------


async def fetched(transport: Transport, urls: Sequence[str]) -> list[str]:
    """The pictures as data URLs. Raises RequestRefused."""
    turns, left = asyncio.Semaphore(AT_ONCE), MAX_BYTES

    async def fetch(url: str) -> str:
        nonlocal left
        async with turns:
            kind, picture = await _fetch(transport, url)
        left -= len(picture)
        if left < 0:
            raise RequestRefused(f"The pictures have more than {MAX_BYTES:,} bytes together. Send smaller ones.")
        return f"data:{kind};base64,{base64.b64encode(picture).decode()}"

    fetching = [asyncio.ensure_future(fetch(url)) for url in urls]
    try:
        return list(await asyncio.gather(*fetching))
    finally:
        for one in fetching:
            one.cancel()


async def _fetch(transport: Transport, url: str) -> tuple[str, bytes]:
    try:
        async with transport.stream(Outgoing("GET", url), timeouts=TIMEOUTS) as incoming:
            kind = incoming.headers.get("content-type", "").partition(";")[0].strip().lower()
            if incoming.status != 200 or kind not in TYPES:
                raise RequestRefused(
                    "An address given for a picture holds none. Send a PNG, JPEG, GIF or WebP picture."
                )
            return kind, await incoming.read(MAX_BYTES)
    except AddressRefused as error:
        raise RequestRefused("The address of a picture is not allowed. Send the picture itself.") from error
    except RequestRefused:
        raise
    except BadReply as error:
        raise RequestRefused(
            f"A picture is cut off, or larger than {MAX_BYTES:,} bytes. Send a smaller one."
        ) from error
    except ProviderError as error:
        raise RequestRefused("A picture could not be fetched. Send the picture itself.") from error
