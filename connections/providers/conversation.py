"""What a conversation in OpenAI's shape holds, read once for all dialects that write it down differently."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from connections.providers.calls import JSON
from connections.providers.errors import RequestRefused


class Data(NamedTuple):
    """What a `data:` URL holds."""

    kind: str
    """As in `image/png`."""
    base64: str


def parts_of(content: Any) -> Sequence[JSON]:
    """A message's parts; empty texts are left out, as many systems refuse them."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return [part for part in parts if part.get("type") != "text" or part.get("text")]


def turns_of(messages: Iterable[JSON], blocks_of: Callable[[JSON], list[JSON]]) -> list[JSON]:
    """Turns of user and assistant; neighbours of one role are one, so all tool results come in one turn."""
    turns: list[JSON] = []
    for message in messages:
        role = "assistant" if message["role"] == "assistant" else "user"
        blocks = blocks_of(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def text_of(content: Any) -> str:
    """All text of a message; what is no text is passed over."""
    return "\n\n".join(part["text"] for part in parts_of(content) if part.get("type") == "text")


def arguments_of(call: Mapping[str, Any]) -> JSON:
    """What a tool was called with, as an object."""
    function = call.get("function") or {}
    try:
        arguments = msgspec.json.decode(function.get("arguments") or "{}")
    except msgspec.DecodeError as error:
        raise RequestRefused("The arguments of a tool call in the conversation are not JSON.", status=400) from error
    return arguments if isinstance(arguments, dict) else {"value": arguments}


def name_of(call: Mapping[str, Any]) -> str:
    """Which tool was called."""
    return str((call.get("function") or {}).get("name") or "")


def function_of(tool: Mapping[str, Any]) -> JSON:
    """A tool's function: `name`, and perhaps `description` and `parameters`."""
    function = tool.get("function")
    if not isinstance(function, dict):
        raise RequestRefused("This model takes only tools of type function.", status=400)
    return function


def described(function: Mapping[str, Any]) -> JSON:
    """Its description, where it has one."""
    return {"description": function["description"]} if function.get("description") else {}


def schema_of(function: Mapping[str, Any]) -> Any:
    """The schema of its parameters, also where it takes none."""
    return function.get("parameters") or {"type": "object", "properties": {}}


def data_of(url: str) -> Data:
    """The picture inside a `data:` URL."""
    kind, comma, data = url.removeprefix("data:").partition(",")
    if not url.startswith("data:") or not comma or not kind.endswith(";base64"):
        raise RequestRefused("A picture must come as a data: URL in base64.", status=400)
    return Data(kind.removesuffix(";base64").partition(";")[0], data)


def unknown_part(part: Mapping[str, Any]) -> RequestRefused:
    return RequestRefused(f"This model takes no content of type {part.get('type')}.", status=400)
