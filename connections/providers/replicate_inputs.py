"""What a model on Replicate is given. Each has input keys of its own, which its version's schema tells."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from msgspec import structs

from connections.providers import images, prompt_formats, text_generation, wire
from connections.providers.calls import JSON, Adjustment, Call, Mode
from connections.providers.errors import RequestRefused
from connections.providers.parameters import ParameterTable

NAMES: Mapping[str, Sequence[str]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "seed": ("seed",),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "repetition_penalty": ("repetition_penalty",),
    "max_tokens": ("max_new_tokens", "max_tokens", "max_completion_tokens", "max_output_tokens", "max_length"),
    "max_completion_tokens": ("max_completion_tokens", "max_tokens", "max_new_tokens", "max_output_tokens"),
    "stop": ("stop_sequences", "stop"),
    "reasoning_effort": ("reasoning_effort",),
    "verbosity": ("verbosity",),
    "aspect_ratio": ("aspect_ratio",),
    "negative_prompt": ("negative_prompt",),
    "steps": ("num_inference_steps", "steps"),
    "cfg_scale": ("guidance_scale", "guidance", "cfg"),
    "output_format": ("output_format",),
    "size": ("size",),
}
"""What the models call a common parameter, the usual name first."""
PICTURES = ("image_input", "images", "image")
"""Where a model takes pictures; the last one takes a single one."""
TABLE = ParameterTable.of(*NAMES)
FILE_FORMATS = {"jpeg": "jpg"}
Keys = Set[str] | None
"""The input keys of a model; None: its schema is not known, so the usual names are used."""


def input_of(call: Call, keys: Keys) -> JSON:
    """The `input` of a prediction."""
    given = TABLE.apply(call)
    found = (
        _conversation(call, keys) if call.mode is Mode.CHAT else {"prompt": text_generation.text_of(given["prompt"])}
    )
    for name, value in given.items():
        if name not in {"messages", "prompt"}:
            _place(call, found, name, wire.plain(value), keys)
    return found


def _takes(keys: Keys, name: str) -> bool:
    return keys is None or name in keys


def _place(call: Call, found: JSON, name: str, value: Any, keys: Keys) -> None:
    """Under the model's own name for it; a parameter that the model does not have is left out."""
    if name == "size" and not (keys and "size" in keys):
        _measure(call, found, value, keys)
        return
    new = next((one for one in NAMES.get(name, (name,)) if _takes(keys, one)), None)
    if new is None or new in found:
        call.adjusted.append(Adjustment(name, "dropped"))
        return
    if new != name:
        call.adjusted.append(Adjustment(name, f"renamed to {new}"))
    if new == "stop_sequences":
        value = value if isinstance(value, str) else ",".join(value)
    found[new] = FILE_FORMATS.get(value, value) if name == "output_format" else value


def _measure(call: Call, found: JSON, value: Any, keys: Keys) -> None:
    """A size as width and height, or as the aspect ratio that comes nearest."""
    size = images.size_of(value)
    if size and _takes(keys, "width") and _takes(keys, "height"):
        found["width"], found["height"] = size
        call.adjusted.append(Adjustment("size", "sent as width and height"))
    elif size and _takes(keys, "aspect_ratio"):
        found["aspect_ratio"] = images.nearest_ratio(size, ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"))
        call.adjusted.append(Adjustment("size", f"sent as aspect_ratio {found['aspect_ratio']}"))
    else:
        call.adjusted.append(Adjustment("size", "dropped"))


# --- conversations ---------------------------------------------------------------------------------------


def _conversation(call: Call, keys: Keys) -> JSON:
    """Messages where the model takes them; otherwise the one question, or the whole conversation as a text."""
    messages = wire.plain(call.body["messages"])
    if keys and "messages" in keys:
        return {"messages": messages}
    texts, pictures = _split(messages)
    plain = structs.replace(call, body={**call.body, "messages": texts})
    turns = prompt_formats.turns(plain)
    if len(turns) > 1:
        call.adjusted.append(Adjustment("messages", "sent as one prompt"))
    found = _question(turns, keys) or _written_down(plain, keys)
    return {**found, **_pictures(pictures, keys)}


def _written_down(call: Call, keys: Keys) -> JSON:
    """A conversation as one text: in the model's own format where the server can be told to leave it as it is."""
    own = (keys is not None and "prompt_template" in keys) or call.target.options.get("prompt_format")
    text = prompt_formats.render(call) if own else prompt_formats.FORMATS["plain"](prompt_formats.turns(call))
    found: JSON = {"prompt": text.text}
    if own and _takes(keys, "prompt_template"):
        found["prompt_template"] = "{prompt}"
    if keys is not None and "stop_sequences" in keys and text.stops and "stop" not in call.body:
        found["stop_sequences"] = ",".join(text.stops)
    return found


def _question(turns: Sequence[prompt_formats.Turn], keys: Keys) -> JSON | None:
    """A single question, with instructions or without."""
    system = [turn.text for turn in turns if turn.role == "system"]
    others = [turn for turn in turns if turn.role != "system"]
    if len(others) != 1 or others[0].role != "user" or (system and not _takes(keys, "system_prompt")):
        return None
    return {"prompt": others[0].text, **({"system_prompt": "\n\n".join(system)} if system else {})}


def _split(messages: Any) -> tuple[list[Any], list[str]]:
    """The messages without their pictures, and the pictures."""
    texts, pictures = [], []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            pictures += [part["image_url"]["url"] for part in content if part.get("type") == "image_url"]
            content = [part for part in content if part.get("type") != "image_url"]
        texts.append({**message, "content": content})
    return texts, pictures


def _pictures(pictures: Sequence[str], keys: Keys) -> JSON:
    if not pictures:
        return {}
    name = next((one for one in reversed(PICTURES) if _takes(keys, one)), None)
    if name is None or (name == "image" and len(pictures) > 1):
        raise RequestRefused("This model takes no pictures, or only one.")
    return {name: pictures[0] if name == "image" else list(pictures)}
