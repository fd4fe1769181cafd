"""The exact text that a model without chat gets: its family's way of writing a conversation down."""

from collections.abc import Mapping
from typing import Literal

from connections.providers import wire
from connections.providers.calls import Adjustment, Call
from connections.providers.errors import RequestRefused
from connections.providers.prompt_table import FORMATS, Name, guess
from connections.providers.prompt_writing import Format, Rendered, Turn
from connections.providers.settings import ModelOptions, setting

__all__ = ["FORMATS", "Format", "PromptOptions", "Rendered", "Turn", "guess", "name_for", "render", "turns"]


class PromptOptions(ModelOptions):
    """For providers some of whose models take one text instead of a conversation."""

    prompt_format: Literal["", Name] = setting(
        "Prompt format",
        default="",
        help="How a conversation is written down as one text. Empty: guessed from the model's name. "
        "The playground shows the exact text under “effective request”.",
        advanced=True,
    )


def render(call: Call) -> Rendered:
    """The messages of a chat call in the format that the model's options name, or else its own name."""
    rendered = FORMATS[name_for(call)](turns(call))
    if rendered.cleaned:
        call.adjusted.append(Adjustment("messages", "cleaned of the prompt format's control strings"))
    return rendered


def name_for(call: Call) -> str:
    chosen = str(call.target.options.get("prompt_format") or "")
    if chosen in FORMATS:
        return chosen
    guessed = guess(call.target.known_as)
    if chosen:
        call.adjusted.append(Adjustment("prompt_format", f"set to {guessed}: there is no {chosen}"))
    return guessed


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
