"""From OpenAI's messages and tools to the blocks of Bedrock's chat API (Converse)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from connections.providers.calls import JSON
from connections.providers.conversation import (
    arguments_of,
    data_of,
    described,
    function_of,
    name_of,
    parts_of,
    schema_of,
    turns_of,
    unknown_part,
)
from connections.providers.errors import RequestRefused

IMAGES: Mapping[str, str] = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
ODD_IN_ID = re.compile(r"[^a-zA-Z0-9_.:-]")


def converse_turns(messages: Iterable[JSON]) -> list[JSON]:
    turns = turns_of(messages, _blocks)
    if turns and turns[-1]["role"] == "assistant" and "text" in turns[-1]["content"][-1]:
        last = turns[-1]["content"][-1]
        last["text"] = last["text"].rstrip() or "-"  # refused otherwise
    return turns


def with_system(turns: list[JSON], system: list[JSON]) -> list[JSON]:
    """System text in front of what the user says first."""
    if turns and turns[0]["role"] == "user":
        return [{"role": "user", "content": [*system, *turns[0]["content"]]}, *turns[1:]]
    return [{"role": "user", "content": system}, *turns]


def _blocks(message: JSON) -> list[JSON]:
    content = message.get("content")
    if message["role"] in {"tool", "function"}:
        told = [block for block in converse_parts(content) if "cachePoint" not in block] or [{"json": {}}]
        return [{"toolResult": {"toolUseId": _id(message.get("tool_call_id")), "content": told}}]
    return converse_parts(content) + [_tool_use(call) for call in message.get("tool_calls") or []]


def converse_parts(content: Any) -> list[JSON]:
    """Blank texts are left out: they are refused."""
    told = [part for part in parts_of(content) if part.get("type") != "text" or part["text"].strip()]
    return [block for part in told for block in (_part(part), *_cache_point(part))]


def _part(part: JSON) -> JSON:
    match part.get("type"):
        case "text":
            return {"text": part["text"]}
        case "refusal":
            return {"text": part.get("refusal") or "-"}
        case "image_url":
            return {"image": _image(part["image_url"]["url"])}
        case _:
            raise unknown_part(part)


def _image(url: str) -> JSON:
    kind, data = data_of(url)
    form = IMAGES.get(kind)
    if form is None:
        raise RequestRefused("A picture must be a PNG, JPEG, GIF or WebP file.", status=400)
    return {"format": form, "source": {"bytes": data}}


def _cache_point(part: JSON) -> list[JSON]:
    """Where the prefix ends that the provider's cache may keep."""
    wish = part.get("cache_control")
    if not isinstance(wish, dict):
        return []
    lasting = {"ttl": wish["ttl"]} if wish.get("ttl") in {"5m", "1h"} else {}
    return [{"cachePoint": {"type": "default", **lasting}}]


def _tool_use(call: JSON) -> JSON:
    return {"toolUse": {"toolUseId": _id(call.get("id")), "name": name_of(call), "input": arguments_of(call)}}


def _id(name: Any) -> str:
    """The same for a call and its result."""
    return ODD_IN_ID.sub("_", str(name or "call"))[:64]


def converse_tool(tool: JSON) -> list[JSON]:
    function = function_of(tool)
    strict = {"strict": True} if function.get("strict") is True else {}
    spec = {"name": function["name"], **described(function), "inputSchema": {"json": schema_of(function)}, **strict}
    return [{"toolSpec": spec}, *_cache_point(tool)]
