"""A chat as Ollama takes it: pictures and arguments of tools in shapes of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers.calls import JSON, Adjustment, Call
from connections.providers.conversation import arguments_of, name_of
from connections.providers.errors import RequestRefused
from connections.providers.shapes import string


def chat_fields(call: Call, given: JSON) -> JSON:
    made: JSON = {"messages": _messages(given.pop("messages"))}
    choice = given.pop("tool_choice", None)
    if choice == "none" and given.pop("tools", None):
        call.adjusted.append(Adjustment("tool_choice", "sent as no tools"))
    elif choice is not None:
        call.adjusted.append(Adjustment("tool_choice", "dropped"))  # the server would hang
    effort = given.pop("reasoning_effort", None)
    if effort is not None:
        made["think"] = effort if effort in {"low", "medium", "high"} else effort not in {"none", "minimal"}
        call.adjusted.append(Adjustment("reasoning_effort", f"sent as think {made['think']}".lower()))
    form = given.pop("response_format", None)
    if form is not None:
        _format(call, made, form)
    return {**made, **given}


def _format(call: Call, made: JSON, form: Mapping[str, Any]) -> None:
    if form.get("type") == "json_schema":
        made["format"] = (form.get("json_schema") or {}).get("schema") or "json"
    elif form.get("type") == "json_object":
        made["format"] = "json"
    else:
        call.adjusted.append(Adjustment("response_format", "left out, as text is usual"))


def _messages(messages: Sequence[JSON]) -> list[JSON]:
    names: dict[str, str] = {}
    return [_message(message, names) for message in messages]


def _message(message: JSON, names: dict[str, str]) -> JSON:
    """`names`: those of the tools called so far, by the id of the call; results carry the name here."""
    role = "system" if message["role"] == "developer" else message["role"]
    made: JSON = {"role": role, "content": _text(message.get("content"))}
    if images := _images(message.get("content")):
        made["images"] = images
    if message.get("tool_calls"):
        made["tool_calls"] = [_tool_call(call, names) for call in message["tool_calls"]]
    if role == "tool":
        made["tool_name"] = names.get(message.get("tool_call_id", ""), message.get("name") or "tool")
    return made


def _tool_call(call: JSON, names: dict[str, str]) -> JSON:
    names[call.get("id", "")] = name_of(call)
    return {"function": {"name": name_of(call), "arguments": arguments_of(call)}}


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    return (
        content if isinstance(content, str) else "\n\n".join(string(part, "text") for part in parts if "text" in part)
    )


def _images(content: Any) -> list[str]:
    """Base64 without anything in front of it."""
    parts = content if isinstance(content, list) else []
    return [part["image_url"]["url"].partition(",")[2] for part in parts if part.get("type") == "image_url"]


def one_prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) != 1:
        raise RequestRefused("This model takes one prompt at a time.", status=400)
    return str(prompt[0] if isinstance(prompt, list) else prompt)
