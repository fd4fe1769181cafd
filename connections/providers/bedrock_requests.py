"""From OpenAI's chat completions to the body of Bedrock's chat API (Converse), which is one for all families."""

from collections.abc import Mapping
from typing import Any

from connections.providers import wire
from connections.providers.anthropic_models import Quirks, quirks_of
from connections.providers.anthropic_requests import BUDGETS, EFFORTS, JSON_ONLY, LARGEST_BUDGET, SMALLEST_BUDGET
from connections.providers.bedrock_messages import converse_parts, converse_tool, converse_turns, with_system
from connections.providers.bedrock_models import known_name, traits_of
from connections.providers.calls import JSON, Adjustment, Call, Target
from connections.providers.errors import RequestRefused
from connections.providers.model_families.claude_messages import bare_name
from connections.providers.parameters import ParameterTable, Rule

PARAMETERS = ParameterTable.of(
    "max_tokens",
    "metadata",
    "reasoning_effort",
    "response_format",
    "service_tier",
    "stop",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    max_completion_tokens=Rule("max_tokens"),
    temperature=Rule(minimum=0, maximum=1),
)
SAMPLING = ("temperature", "top_p", "top_k")
TIERS = frozenset({"default", "flex", "priority"})
FIRST_TURN = "(The conversation begins.)"
"""Bedrock refuses conversations in which the model speaks first."""
THINKING_LENGTH = 8192
"""What an answer may have where the model is to think and the caller names no length."""
NOVA_EFFORTS: Mapping[str, str] = {"minimal": "low", "low": "low", "medium": "medium"}
MAX_METADATA = 16


def table_for(target: Target) -> ParameterTable:
    """What a model takes on the chat API."""
    traits = traits_of(target)
    left_out = [] if traits.tools else ["tools", "tool_choice"]
    left_out += [] if traits.top_k else ["top_k"]
    left_out += [] if traits.reasoning else ["reasoning_effort"]
    samples = traits.reasoning != "claude" or _quirks(target).sampling
    table = PARAMETERS.changed(thinking=Rule()) if traits.reasoning == "claude" else PARAMETERS
    return table.without(*left_out, *(() if samples else SAMPLING))


def converse_body(call: Call, guardrail: JSON) -> JSON:
    return _Translation(call).body() | ({"guardrailConfig": guardrail} if guardrail else {})


def _quirks(target: Target) -> Quirks:
    """Of Claude, whoever hosts it."""
    return quirks_of(bare_name(known_name(target))).overridden(target.options)


class _Translation:
    """One request on its way. Each step moves its part from `given` to `made`; what nobody moves is the model's own."""

    def __init__(self, call: Call) -> None:
        self.call, self.traits, self.quirks = call, traits_of(call.target), _quirks(call.target)
        table = table_for(call.target)
        self.given: JSON = {name: wire.plain(value) for name, value in table.apply(call).items()}
        self.made: JSON = {}
        self.settings: JSON = {}
        self.own: JSON = {}

    def body(self) -> JSON:
        self._conversation()
        self._tools()
        self._length()
        self._format()
        self._reasoning()
        self._sampling()
        self._extras()
        placed = {"inferenceConfig": self.settings, "additionalModelRequestFields": self.own | self.given}
        return self.made | {name: value for name, value in placed.items() if value}

    def _report(self, parameter: str, what: str) -> None:
        self.call.adjusted.append(Adjustment(parameter, what))

    # --- messages

    def _conversation(self) -> None:
        messages: list[JSON] = self.given.pop("messages")
        told = [message for message in messages if message["role"] in {"system", "developer"}]
        turns = converse_turns(message for message in messages if message not in told)
        system = [block for message in told for block in converse_parts(message.get("content"))]
        if told != messages[: len(told)]:
            self._report("messages", "changed: all system text moved to the front")
        if system and (not turns or not self.traits.system):
            turns, system = with_system(turns, system), []
            self._report("messages", "changed: system text sent as the user's")
        if turns and turns[0]["role"] != "user":
            turns = [{"role": "user", "content": [{"text": FIRST_TURN}]}, *turns]
            self._report("messages", "changed: a turn of the user put in front")
        self.made["messages"] = turns
        if system:
            self.made["system"] = system

    # --- tools

    def _tools(self) -> None:
        tools, choice = self.given.pop("tools", None), self.given.pop("tool_choice", None)
        if tools and choice == "none" and not self._has_used_tools():
            tools, choice = None, None
            self._report("tool_choice", "sent as no tools")
        if not tools:
            if choice is not None:
                self._report("tool_choice", "dropped")
            tools = self._tools_of_the_conversation()
            choice = None
        if tools:
            named = [block for tool in tools for block in converse_tool(tool)]
            self.made["toolConfig"] = {"tools": named} | self._choice(choice)

    def _choice(self, choice: Any) -> JSON:
        match choice:
            case None | "auto":
                return {"toolChoice": {"auto": {}}} if choice else {}
            case "required":
                return {"toolChoice": {"any": {}}}
            case "none":
                self._report("tool_choice", "dropped: the conversation uses tools, so they must be named")
                return {}
            case {"function": {"name": str(name)}}:
                return {"toolChoice": {"tool": {"name": name}}}
        raise RequestRefused("This model does not take this kind of tool_choice.", status=400)

    def _has_used_tools(self) -> bool:
        blocks = [block for turn in self.made["messages"] for block in turn["content"]]
        return any("toolUse" in block or "toolResult" in block for block in blocks)

    def _tools_of_the_conversation(self) -> list[JSON]:
        """Bedrock refuses a conversation that used tools unless they are named again."""
        blocks = [block for turn in self.made["messages"] for block in turn["content"]]
        names = dict.fromkeys(block["toolUse"]["name"] for block in blocks if "toolUse" in block)
        if names:
            self._report("tools", "set to those of the conversation")
        return [{"function": {"name": name}} for name in names]

    # --- parameters

    def _length(self) -> None:
        most, wished = self.call.target.max_output, self.given.pop("max_tokens", None)
        if wished is not None:
            self.settings["maxTokens"] = min(wished, most or wished)
            if self.settings["maxTokens"] != wished:
                self._report("max_tokens", f"clamped to {most}")

    def _format(self) -> None:
        wished = self.given.pop("response_format", None) or {}
        if wished.get("type") == "json_schema":
            told = wished.get("json_schema") or {}
            schema = wire.encode(told.get("schema") or {"type": "object"}).decode()
            named = {name: told[name] for name in ("name", "description") if told.get(name)}
            form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, **named}}}
            self.made.setdefault("outputConfig", {})["textFormat"] = form
        elif wished.get("type") == "json_object":
            self._instruct(JSON_ONLY)
            self._report("response_format", "sent as an instruction")

    def _instruct(self, text: str) -> None:
        if self.traits.system:
            self.made.setdefault("system", []).append({"text": text})
        else:
            self.made["messages"] = with_system(self.made["messages"], [{"text": text}])

    def _reasoning(self) -> None:
        effort = self.given.pop("reasoning_effort", None)
        if effort is None:
            return
        if "thinking" in self.given:
            self._report("reasoning_effort", "dropped, as thinking is given")
        elif self.traits.reasoning == "effort":
            self.own["reasoning_effort"] = effort
        elif self.traits.reasoning == "nova":
            self._nova(effort)
        elif effort == "none":
            self._report("reasoning_effort", "sent as no thinking")
            if self.quirks.thinking == "adaptive":
                self.own["thinking"] = {"type": "disabled"}
        elif self.quirks.thinking == "none":
            self._report("reasoning_effort", "dropped")
        elif self.quirks.thinking == "budget":
            self._budget(effort)
        else:
            self._effort(effort)

    def _nova(self, effort: str) -> None:
        wish = {"type": "disabled"}
        if effort != "none":
            wish = {"type": "enabled", "maxReasoningEffort": NOVA_EFFORTS.get(effort, "high")}
        self.own["reasoningConfig"] = wish
        self._report("reasoning_effort", f"sent as reasoningConfig {wish.get('maxReasoningEffort', 'disabled')}")

    def _effort(self, effort: str) -> None:
        if self.quirks.thinking == "adaptive":
            self.own["thinking"] = {"type": "adaptive"}
        self.made.setdefault("outputConfig", {})["effort"] = EFFORTS.get(effort, effort)
        self._report("reasoning_effort", f"sent as effort {EFFORTS.get(effort, effort)}")

    def _budget(self, effort: str) -> None:
        """What the model thinks counts towards its answer's length: at most half of that is for thinking."""
        if "maxTokens" not in self.settings:
            self.settings["maxTokens"] = min(THINKING_LENGTH, self.call.target.max_output or THINKING_LENGTH)
            self._report("max_tokens", f"set to {self.settings['maxTokens']}")
        budget = min(BUDGETS.get(effort, LARGEST_BUDGET), self.settings["maxTokens"] // 2)
        if budget < SMALLEST_BUDGET:
            self._report("reasoning_effort", "dropped, as max_tokens leaves no room")
            return
        self.own["thinking"] = {"type": "enabled", "budget_tokens": budget}
        self._report("reasoning_effort", f"sent as a thinking budget of {budget}")

    def _sampling(self) -> None:
        self._for_thought()
        both = self.traits.reasoning != "claude" or self.quirks.both
        if "temperature" in self.given and not both and self.given.pop("top_p", None) is not None:
            self._report("top_p", "dropped, as temperature is given")
        for name, place in (("temperature", "temperature"), ("top_p", "topP")):
            if name in self.given:
                self.settings[place] = self.given.pop(name)
        if "top_k" in self.given:
            self._top_k(self.given.pop("top_k"))
        self._stops()

    def _for_thought(self) -> None:
        """Claude refuses what would steer it while it thinks."""
        thinking = self.own.get("thinking") or self.given.get("thinking")
        if not isinstance(thinking, dict) or thinking.get("type") not in {"enabled", "adaptive"}:
            return
        for name in SAMPLING:
            if self.given.pop(name, None) is not None:
                self._report(name, "dropped while the model thinks")
        if {"any", "tool"} & self.made.get("toolConfig", {}).get("toolChoice", {}).keys():
            self.made["toolConfig"]["toolChoice"] = {"auto": {}}
            self._report("tool_choice", "set to auto while the model thinks")

    def _top_k(self, value: Any) -> None:
        if self.traits.top_k == "nova":
            self.own["inferenceConfig"] = {"topK": value}
            self._report("top_k", "renamed to inferenceConfig.topK")
            return
        self.own[self.traits.top_k] = value
        if self.traits.top_k != "top_k":
            self._report("top_k", f"renamed to {self.traits.top_k}")

    def _stops(self) -> None:
        wished = self.given.pop("stop", None) or []
        if sequences := [wished] if isinstance(wished, str) else wished:
            self.settings["stopSequences"] = sequences

    def _extras(self) -> None:
        tier = self.given.pop("service_tier", None)
        if tier in TIERS:
            self.made["serviceTier"] = {"type": tier}
        elif tier is not None:
            self._report("service_tier", "dropped")
        told = self.given.pop("metadata", None) or {}
        kept = {name: value for name, value in list(told.items())[:MAX_METADATA] if isinstance(value, str) and value}
        if kept:
            self.made["requestMetadata"] = kept
        if len(kept) < len(told):
            self._report("metadata", "dropped where it is no text, or beyond the sixteenth")
