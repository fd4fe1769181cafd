"""From OpenAI's chat completions to the body that Anthropic's messages route takes."""

from collections.abc import Iterable, Mapping
from typing import Any

from connections.providers import wire
from connections.providers.anthropic_models import Quirks
from connections.providers.calls import JSON, Adjustment, Call
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
from connections.providers.parameters import ParameterTable, Rule

PARAMETERS = ParameterTable.of(
    "max_tokens",
    "parallel_tool_calls",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "service_tier",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user",
    max_completion_tokens=Rule("max_tokens"),
    stop=Rule("stop_sequences"),
    temperature=Rule(minimum=0, maximum=1),
)
DEFAULT_MAX_TOKENS = 4096
SMALLEST_BUDGET = 1024
BUDGETS: Mapping[str, int] = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384}
LARGEST_BUDGET = 32_768
EFFORTS: Mapping[str, str] = {"minimal": "low"}
TOOL_CHOICES: Mapping[str, str] = {"auto": "auto", "none": "none", "required": "any"}
SERVICE_TIERS: Mapping[str, str] = {"auto": "auto", "default": "standard_only"}
SAMPLING = ("temperature", "top_p", "top_k")
JSON_ONLY = "Answer with one JSON object and nothing else."


def messages_body(call: Call, table: ParameterTable, quirks: Quirks) -> JSON:
    return _Translation(call, table, quirks).body()


class _Translation:
    """One request on its way. Each step moves its part from `given` to `made`."""

    def __init__(self, call: Call, table: ParameterTable, quirks: Quirks) -> None:
        self.call, self.quirks = call, quirks
        self.given: JSON = {name: wire.plain(value) for name, value in table.apply(call).items()}
        self.made: JSON = {"model": call.target.upstream_id}

    def body(self) -> JSON:
        self._length()
        self._conversation()
        self._stops()
        self._tools()
        self._format()
        self._thinking()
        self._sampling()
        self._user()
        self._service_tier()
        if self.call.stream:
            self.made["stream"] = True
        return {**self.made, **self.given}

    def _report(self, parameter: str, what: str) -> None:
        self.call.adjusted.append(Adjustment(parameter, what))

    def _length(self) -> None:
        most, wished = self.call.target.max_output, self.given.pop("max_tokens", None)
        if wished is None:
            self.made["max_tokens"] = min(DEFAULT_MAX_TOKENS, most or DEFAULT_MAX_TOKENS)
            self._report("max_tokens", f"set to {self.made['max_tokens']}")
        else:
            self.made["max_tokens"] = min(wished, most or wished)
            if self.made["max_tokens"] != wished:
                self._report("max_tokens", f"clamped to {most}")

    def _conversation(self) -> None:
        messages: list[JSON] = self.given.pop("messages")
        system = [message for message in messages if message["role"] in {"system", "developer"}]
        turns = _turns(message for message in messages if message not in system)
        told = [part for message in system for part in _parts(message.get("content")) if part["type"] == "text"]
        if system != messages[: len(system)]:
            self._report("messages", "changed: all system text moved to the front")
        if not turns and told:
            turns, told = [{"role": "user", "content": told}], []
            self._report("messages", "changed: system text sent as the user's")
        self.made["messages"] = turns
        if told:
            cached = any("cache_control" in part for part in told)
            self.made["system"] = told if cached else "\n\n".join(part["text"] for part in told)

    def _stops(self) -> None:
        wished = self.given.pop("stop_sequences", [])
        sequences = [wished] if isinstance(wished, str) else wished
        if kept := [sequence for sequence in sequences if sequence.strip()]:
            self.made["stop_sequences"] = kept
        if len(kept) < len(sequences):
            self._report("stop", "dropped where it is only white space")

    def _tools(self) -> None:
        tools, choice = self.given.pop("tools", None), self.given.pop("tool_choice", None)
        parallel = self.given.pop("parallel_tool_calls", True)
        if not tools:
            for name, given in (("tool_choice", choice is not None), ("parallel_tool_calls", not parallel)):
                if given:
                    self._report(name, "dropped")
            return
        self.made["tools"] = [_tool(tool) for tool in tools]
        made = _tool_choice(choice)
        if not parallel and made.get("type") != "none":
            made = {"type": "auto", **made, "disable_parallel_tool_use": True}
        if made:
            self.made["tool_choice"] = made

    def _format(self) -> None:
        wished = self.given.pop("response_format", None) or {}
        if wished.get("type") == "json_schema":
            schema = wished.get("json_schema", {}).get("schema", {"type": "object"})
            self._output("format", {"type": "json_schema", "schema": schema})
        elif wished.get("type") == "json_object":
            self._instruct(JSON_ONLY)
            self._report("response_format", "sent as an instruction")

    def _instruct(self, text: str) -> None:
        told = self.made.get("system", "")
        if isinstance(told, list):
            self.made["system"] = [*told, _text_block(text)]
        else:
            self.made["system"] = "\n\n".join(filter(None, (told, text)))

    def _output(self, name: str, value: Any) -> None:
        self.made.setdefault("output_config", {})[name] = value

    def _thinking(self) -> None:
        effort = self.given.pop("reasoning_effort", None)
        if effort is None or "thinking" in self.given:
            if effort is not None:
                self._report("reasoning_effort", "dropped, as thinking is given")
        elif effort == "none":
            self._report("reasoning_effort", "sent as no thinking")
            if self.quirks.thinking != "none":
                self.made["thinking"] = {"type": "disabled"}
        elif self.quirks.thinking == "none":
            self._report("reasoning_effort", "dropped")
        elif self.quirks.thinking == "budget":
            self._budget(effort)
        else:
            self._effort(effort)

    def _effort(self, effort: str) -> None:
        if self.quirks.thinking == "adaptive":
            self.made["thinking"] = {"type": "adaptive"}
        self._output("effort", EFFORTS.get(effort, effort))
        self._report("reasoning_effort", f"sent as effort {EFFORTS.get(effort, effort)}")

    def _budget(self, effort: str) -> None:
        """What the model thinks counts towards its answer's length: at most half of that is for thinking."""
        if self._called():
            self._report("reasoning_effort", "dropped, as the call of a tool came without the thoughts before it")
            return
        budget = min(BUDGETS.get(effort, LARGEST_BUDGET), self.made["max_tokens"] // 2)
        if budget < SMALLEST_BUDGET:
            self._report("reasoning_effort", "dropped, as max_tokens leaves no room")
            return
        self.made["thinking"] = {"type": "enabled", "budget_tokens": budget}
        self._report("reasoning_effort", f"sent as a thinking budget of {budget}")

    def _called(self) -> bool:
        """Whether the conversation stops between a tool's call and the answer to it.

        A model with a budget wants its thoughts back there, signed, which no message of ours can carry.
        """
        last = self.made["messages"][-1]["content"] if self.made["messages"] else []
        return any(block["type"] == "tool_result" for block in last)

    def _sampling(self) -> None:
        thinking = self.made.get("thinking") or self.given.get("thinking")
        thinks = isinstance(thinking, dict) and thinking.get("type") in {"enabled", "adaptive"}
        if "temperature" in self.given and not self.quirks.both and self.given.pop("top_p", None) is not None:
            self._report("top_p", "dropped, as temperature is given")
        if not thinks:
            return
        for name in SAMPLING:
            if self.given.pop(name, None) is not None:
                self._report(name, "dropped while the model thinks")
        if self.made.get("tool_choice", {}).get("type") in {"any", "tool"}:
            self.made["tool_choice"] = {**self.made["tool_choice"], "type": "auto"}
            self.made["tool_choice"].pop("name", None)
            self._report("tool_choice", "set to auto while the model thinks")

    def _user(self) -> None:
        names = [self.given.pop(name, None) for name in ("safety_identifier", "user")]
        for name, user in zip(("safety_identifier", "user"), names, strict=True):
            if user is not None:
                self.made.setdefault("metadata", {"user_id": user})
                self._report(name, "renamed to metadata.user_id")

    def _service_tier(self) -> None:
        tier = self.given.pop("service_tier", None)
        if tier in SERVICE_TIERS:
            self.made["service_tier"] = SERVICE_TIERS[tier]
        elif tier is not None:
            self._report("service_tier", "dropped")


# --- messages --------------------------------------------------------------------------------------------


def _turns(messages: Iterable[JSON]) -> list[JSON]:
    turns = turns_of(messages, _blocks)
    if turns and turns[-1]["role"] == "assistant" and turns[-1]["content"][-1]["type"] == "text":
        last = turns[-1]["content"][-1]
        last["text"] = last["text"].rstrip()  # refused otherwise
    return turns


def _blocks(message: JSON) -> list[JSON]:
    content = message.get("content")
    if message["role"] in {"tool", "function"}:
        result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id", "")}
        return [{**result, "content": _parts(content)} if content else result]
    return _parts(content) + [_tool_use(call) for call in message.get("tool_calls") or []]


def _parts(content: Any) -> list[JSON]:
    """Empty texts are left out: they are refused."""
    return [_part(part) for part in parts_of(content)]


def _part(part: JSON) -> JSON:
    match part.get("type"):
        case "text":
            return {**_text_block(part["text"]), **_caching(part)}
        case "refusal":
            return _text_block(part.get("refusal") or "-")
        case "image_url":
            return {"type": "image", "source": _image_source(part["image_url"]["url"]), **_caching(part)}
        case _:
            raise unknown_part(part)


def _text_block(text: str) -> JSON:
    return {"type": "text", "text": text}


def _caching(part: JSON) -> JSON:
    return {"cache_control": part["cache_control"]} if isinstance(part.get("cache_control"), dict) else {}


def _image_source(url: str) -> JSON:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    kind, data = data_of(url)
    return {"type": "base64", "media_type": kind, "data": data}


# --- tools -----------------------------------------------------------------------------------------------


def _tool_use(call: JSON) -> JSON:
    return {"type": "tool_use", "id": call.get("id", ""), "name": name_of(call), "input": arguments_of(call)}


def _tool(tool: JSON) -> JSON:
    function = function_of(tool)
    told = {"name": function["name"], **described(function), "input_schema": schema_of(function)}
    return {**told, **_caching(tool)}


def _tool_choice(choice: Any) -> JSON:
    if isinstance(choice, str) and choice in TOOL_CHOICES:
        return {"type": TOOL_CHOICES[choice]}
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return {"type": "tool", "name": choice["function"].get("name", "")}
    if choice is None:
        return {}
    raise RequestRefused("This model does not take this kind of tool_choice.", status=400)
