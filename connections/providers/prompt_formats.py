"""The exact text that a model without chat gets: its family's way of writing a conversation down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from connections.providers import wire
from connections.providers.calls import Call
from connections.providers.errors import RequestRefused


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as one text, and what the model writes when its turn is over."""

    text: str
    stops: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    """system, user or assistant"""
    text: str


def render(call: Call) -> Rendered:
    """The messages of a chat call in the format that the model's options name."""
    name = str(call.target.options.get("prompt_format") or "plain")
    if name not in FORMATS:
        raise RequestRefused(f"There is no prompt format {name!r}.")
    return FORMATS[name](turns(call))


def turns(call: Call) -> list[Turn]:
    """The messages as texts; what is no text cannot be written down and is refused."""
    return [Turn(_role(message["role"]), _text(message)) for message in wire.plain(call.body["messages"])]


def _role(role: str) -> str:
    if role == "tool":
        raise RequestRefused("This model takes plain text only: no tool calls and no tool results.")
    return "system" if role == "developer" else role


def _text(message: Mapping[str, object]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    if any(part.get("type") != "text" for part in parts):
        raise RequestRefused("This model takes plain text only: no images.")
    return "\n".join(part["text"] for part in parts)


def _plain(conversation: Sequence[Turn]) -> Rendered:
    lines = [f"{turn.role.capitalize()}: {turn.text}" for turn in conversation]
    return Rendered("\n".join([*lines, "Assistant:"]), ("\nUser:",))


FORMATS: Mapping[str, Callable[[Sequence[Turn]], Rendered]] = {"plain": _plain}
"""By the name that a model's option `prompt_format` gives."""
