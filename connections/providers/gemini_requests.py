"""From OpenAI's chat completions to what Gemini's `generateContent` takes."""

import mimetypes
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from connections.providers import gemini_tool_ids, images, wire
from connections.providers.calls import JSON, Adjustment, Call
from connections.providers.conversation import (
    arguments_of,
    data_of,
    described,
    function_of,
    name_of,
    parts_of,
    unknown_part,
)
from connections.providers.errors import RequestRefused
from connections.providers.gemini_models import always_thinks, thinking_of
from connections.providers.parameters import ParameterTable, Rule

MAX_STOPS = 5
CHOICES = 8
TOP = ("cachedContent", "labels", "safetySettings")
"""Fields of Google's own that callers may send beside the conversation."""
CONFIG = ("mediaResolution", "thinkingConfig")
"""The same for the configuration of the answer."""
CHAT = ParameterTable.of(
    *TOP,
    *CONFIG,
    "reasoning_effort",
    "response_format",
    "seed",
    "tool_choice",
    "tools",
    temperature=Rule(minimum=0, maximum=2),
    top_p=Rule("topP"),
    top_k=Rule("topK"),
    max_tokens=Rule("maxOutputTokens"),
    max_completion_tokens=Rule("maxOutputTokens"),
    stop=Rule("stopSequences"),
    presence_penalty=Rule("presencePenalty"),
    frequency_penalty=Rule("frequencyPenalty"),
    n=Rule("candidateCount"),
)
WITHOUT_THINKING = CHAT.without("reasoning_effort", "thinkingConfig")
"""For models of the first generations."""
IMAGE = ParameterTable.of("aspect_ratio", "seed", "size", "safetySettings")
SENT_AS_THEY_ARE = (
    *("temperature", "topP", "topK", "maxOutputTokens", "seed", "presencePenalty", "frequencyPenalty"),
    *("candidateCount", *CONFIG),
)
TOOL_CHOICES: Mapping[str, str] = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
LEVELS: Mapping[str, str] = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM"}
BUDGETS: Mapping[str, int] = {"minimal": 1024, "low": 1024, "medium": 8192}
LARGEST_BUDGET = 24_576
SMALLEST_BUDGET = 128
"""Of models that cannot do without thinking."""
RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
UNKNOWN_IMAGE = "image/jpeg"


def chat_body(call: Call, table: ParameterTable) -> JSON:
    return _Translation(call, table).body()


def image_body(call: Call, table: ParameterTable) -> JSON:
    """For models that answer with a picture."""
    given = {name: wire.plain(value) for name, value in table.apply(call).items()}
    config: JSON = {"responseModalities": ["TEXT", "IMAGE"]}
    if "seed" in given:
        config["seed"] = given.pop("seed")
    if ratio := aspect_ratio(call, given, RATIOS):
        config["imageConfig"] = {"aspectRatio": ratio}
    contents = [{"role": "user", "parts": [{"text": given.pop("prompt")}]}]
    return {"contents": contents, "generationConfig": config, **given}


def aspect_ratio(call: Call, given: JSON, ratios: Iterable[str]) -> str:
    """Takes size and aspect ratio out of `given`: these models know ratios only."""
    wished, size = given.pop("aspect_ratio", ""), images.size_of(asked := given.pop("size", None))
    if wished and asked:
        call.adjusted.append(Adjustment("size", "dropped, as aspect_ratio is given"))
    elif size is not None:
        wished = images.nearest_ratio(size, ratios)
        call.adjusted.append(Adjustment("size", f"sent as aspect ratio {wished}"))
    elif asked:
        call.adjusted.append(Adjustment("size", "left to the model"))
    return str(wished)


class _Translation:
    """One request on its way. Each step moves its part from `given` to `made` or `config`."""

    def __init__(self, call: Call, table: ParameterTable) -> None:
        self.call, self.name = call, call.target.known_as
        self.given: JSON = {name: wire.plain(value) for name, value in table.apply(call).items()}
        self.made: JSON = {}
        self.config: JSON = {}

    def body(self) -> JSON:
        self._conversation()
        self._tools()
        self._stops()
        self._format()
        self._thinking()
        for name in SENT_AS_THEY_ARE:
            if name in self.given:
                self.config[name] = self.given.pop(name)
        if self.config:
            self.made["generationConfig"] = self.config
        return {**self.made, **self.given}

    def _report(self, parameter: str, what: str) -> None:
        self.call.adjusted.append(Adjustment(parameter, what))

    def _conversation(self) -> None:
        messages: list[JSON] = self.given.pop("messages")
        system = [message for message in messages if message["role"] in {"system", "developer"}]
        contents = contents_of(messages, strict=thinking_of(self.name) == "level")
        instructions = [{"text": text} for message in system if (text := _text(message.get("content")))]
        if system != messages[: len(system)]:
            self._report("messages", "changed: all system text moved to the front")
        if not contents and instructions:
            contents, instructions = [{"role": "user", "parts": instructions}], []
            self._report("messages", "changed: system text sent as the user's")
        self.made["contents"] = contents
        if instructions:
            self.made["systemInstruction"] = {"parts": instructions}

    def _tools(self) -> None:
        tools, choice = self.given.pop("tools", None), self.given.pop("tool_choice", None)
        if not tools:
            if choice is not None:
                self._report("tool_choice", "dropped")
            return
        self.made["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in tools]}]
        if choice is not None:
            self.made["toolConfig"] = {"functionCallingConfig": _calling(choice)}

    def _stops(self) -> None:
        wished = self.given.pop("stopSequences", None) or []
        stops = [wished] if isinstance(wished, str) else wished
        if len(stops) > MAX_STOPS:
            self._report("stop", f"cut to the first {MAX_STOPS}")
        if stops:
            self.config["stopSequences"] = stops[:MAX_STOPS]

    def _format(self) -> None:
        wished = self.given.pop("response_format", None) or {}
        if wished.get("type") in {"json_object", "json_schema"}:
            self.config["responseMimeType"] = "application/json"
        if wished.get("type") == "json_schema":
            described = wished.get("json_schema") or {}
            self.config["responseJsonSchema"] = described.get("schema", {"type": "object"})

    def _thinking(self) -> None:
        effort = self.given.pop("reasoning_effort", None)
        if effort is None:
            return
        if "thinkingConfig" in self.given:
            self._report("reasoning_effort", "dropped, as thinkingConfig is given")
            return
        match thinking_of(self.name):
            case "level":
                self._level(effort)
            case _:
                self._budget(effort)

    def _level(self, effort: str) -> None:
        """These models cannot do without thinking: the least is what comes nearest to none."""
        least = "LOW" if always_thinks(self.name) else "MINIMAL"
        level = least if effort in {"none", "minimal"} else LEVELS.get(effort, "HIGH")
        self.config["thinkingConfig"] = {"thinkingLevel": level}
        self._report("reasoning_effort", f"sent as thinking level {level}")

    def _budget(self, effort: str) -> None:
        budget = BUDGETS.get(effort, LARGEST_BUDGET)
        if effort == "none":
            budget = SMALLEST_BUDGET if always_thinks(self.name) else 0
        self.config["thinkingConfig"] = {"thinkingBudget": budget}
        self._report("reasoning_effort", f"sent as a thinking budget of {budget}")


# --- messages --------------------------------------------------------------------------------------------


def contents_of(messages: list[JSON], *, strict: bool) -> list[JSON]:
    """Turns of user and model. Neighbours of one role are one, but results of tools stand by themselves.

    `strict`: for models that want the signature of each call they made.
    """
    turns: list[JSON] = []
    called: dict[str, tuple[int, str]] = {}
    before = ""
    for message in messages:
        role = message["role"]
        if role in {"system", "developer"}:
            continue
        if role == "tool":
            parts = [_tool_result(message, called)]
        else:
            calls = message.get("tool_calls") or []
            called |= {call.get("id", ""): (place, name_of(call)) for place, call in enumerate(calls)}
            parts = _parts(message.get("content")) + _tool_calls(calls, strict=strict)
        if role == before and turns:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": "model" if role == "assistant" else "user", "parts": parts})
            before = role
    return [_in_order(turn) for turn in turns]


def _in_order(turn: JSON) -> JSON:
    """Results are told apart by name and place alone, so they stand in the order of their calls."""
    results = [part for part in turn["parts"] if "place" in part]
    if not results:
        return turn
    results.sort(key=lambda part: int(part["place"]))
    return {**turn, "parts": [{"functionResponse": part["functionResponse"]} for part in results]}


def _tool_result(message: JSON, called: Mapping[str, tuple[int, str]]) -> JSON:
    place, name = called.get(message.get("tool_call_id", ""), (0, ""))
    if not name:
        raise RequestRefused("A tool's result must follow the message that called the tool.", status=400)
    return {"functionResponse": {"name": name, "response": {"output": _text(message.get("content"))}}, "place": place}


def _tool_calls(calls: list[JSON], *, strict: bool) -> list[JSON]:
    """Of calls made together, the first carries the signature."""
    parts = [{"functionCall": {"name": name_of(call), "args": arguments_of(call)}} for call in calls]
    for call, part in zip(calls, parts, strict=True):
        if signature := gemini_tool_ids.signature_in(call.get("id", "")):
            part["thoughtSignature"] = signature  # type: ignore[assignment]
    if parts and strict:
        parts[0].setdefault("thoughtSignature", gemini_tool_ids.NO_SIGNATURE)  # type: ignore[arg-type]
    return parts


def _parts(content: Any) -> list[JSON]:
    """Empty texts are left out: they are refused."""
    return [_part(part) for part in parts_of(content)]


def _part(part: JSON) -> JSON:
    match part.get("type"):
        case "text":
            return {"text": part["text"]}
        case "refusal":
            return {"text": part.get("refusal") or "-"}
        case "image_url":
            return _picture(part["image_url"]["url"])
        case _:
            raise unknown_part(part)


def _picture(url: str) -> JSON:
    if not url.startswith("data:"):
        kind = mimetypes.guess_type(urlsplit(url).path)[0] or UNKNOWN_IMAGE
        return {"fileData": {"mimeType": kind, "fileUri": url}}
    kind, data = data_of(url)
    return {"inlineData": {"mimeType": kind, "data": data}}


def _text(content: Any) -> str:
    return "\n\n".join(part["text"] for part in _parts(content) if "text" in part)


# --- tools -----------------------------------------------------------------------------------------------


def _declaration(tool: JSON) -> JSON:
    function = function_of(tool)
    schema = {"parametersJsonSchema": function["parameters"]} if function.get("parameters") else {}
    return {"name": function["name"], **described(function), **schema}


def _calling(choice: Any) -> JSON:
    if isinstance(choice, str) and choice in TOOL_CHOICES:
        return {"mode": TOOL_CHOICES[choice]}
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return {"mode": "ANY", "allowedFunctionNames": [choice["function"].get("name", "")]}
    raise RequestRefused("This model does not take this kind of tool_choice.", status=400)
