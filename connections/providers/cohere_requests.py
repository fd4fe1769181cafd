"""From OpenAI's chats and rerankings to the bodies that the second version of Cohere's API takes."""

from collections.abc import Mapping
from typing import Any

from connections.providers import wire
from connections.providers.calls import JSON, Adjustment, Call
from connections.providers.conversation import unknown_part
from connections.providers.errors import RequestRefused
from connections.providers.model_families.cohere_text import P, one_penalty
from connections.providers.model_families.family import list_of
from connections.providers.parameters import ParameterTable, Rule

CHAT = ParameterTable.of(
    "citation_options",
    "documents",
    "max_tokens",
    "priority",
    "reasoning_effort",
    "response_format",
    "safety_mode",
    "seed",
    "strict_tools",
    "thinking",
    "tool_choice",
    "tools",
    max_completion_tokens=Rule("max_tokens"),
    frequency_penalty=Rule(minimum=0, maximum=1),
    presence_penalty=Rule(minimum=0, maximum=1),
    stop=Rule("stop_sequences"),
    temperature=Rule(minimum=0, maximum=1),
    top_k=Rule("k", minimum=0, maximum=500),
    top_p=P,
)
RERANK = ParameterTable.of("max_tokens_per_doc", "top_n")
BUDGETS: Mapping[str, int] = {"minimal": 512, "low": 1024, "medium": 4096, "high": 16_384}
LARGEST_BUDGET = 31_000
TOOL_CHOICES: Mapping[str, str] = {"required": "REQUIRED", "none": "NONE"}


def chat_body(call: Call, table: ParameterTable) -> JSON:
    return _Chat(call, table).body()


class _Chat:
    """One request on its way. Each step moves its part from `given` to `made`."""

    def __init__(self, call: Call, table: ParameterTable) -> None:
        self.call = call
        self.given: JSON = {name: wire.plain(value) for name, value in table.apply(call).items()}
        self.made: JSON = {"model": call.target.upstream_id}

    def body(self) -> JSON:
        self.made["messages"] = [_message(message) for message in self.given.pop("messages")]
        if "stop_sequences" in self.given:
            self.given["stop_sequences"] = list_of(self.given["stop_sequences"])
        one_penalty(self.call, self.given)
        self._tools()
        self._format()
        self._thinking()
        self.made["stream"] = self.call.stream
        return {**self.made, **self.given}

    def _report(self, parameter: str, what: str) -> None:
        self.call.adjusted.append(Adjustment(parameter, what))

    def _tools(self) -> None:
        tools, choice = self.given.pop("tools", None), self.given.pop("tool_choice", None)
        if not tools:
            if choice is not None:
                self._report("tool_choice", "dropped")
            return
        if isinstance(choice, dict):
            tools = [tool for tool in tools if _name(tool) == _name(choice)]
            if not tools:
                raise RequestRefused("tool_choice names a tool that is not among the tools.", status=400)
            self._report("tool_choice", "sent as REQUIRED with this tool alone")
            choice = "required"
        self.made["tools"] = tools
        if choice in TOOL_CHOICES:
            self.made["tool_choice"] = TOOL_CHOICES[choice]

    def _format(self) -> None:
        wished = self.given.pop("response_format", None) or {}
        if wished.get("type") == "json_object":
            self.made["response_format"] = {"type": "json_object"}
        elif wished.get("type") == "json_schema":
            schema = (wished.get("json_schema") or {}).get("schema") or {"type": "object"}
            self.made["response_format"] = {"type": "json_object", "json_schema": schema}

    def _thinking(self) -> None:
        effort = self.given.pop("reasoning_effort", None)
        if effort is None:
            return
        if "thinking" in self.given:
            self._report("reasoning_effort", "dropped, as thinking is given")
        elif effort == "none":
            self.made["thinking"] = {"type": "disabled"}
            self._report("reasoning_effort", "sent as no thinking")
        else:
            budget = BUDGETS.get(effort, LARGEST_BUDGET)
            self.made["thinking"] = {"type": "enabled", "token_budget": budget}
            self._report("reasoning_effort", f"sent as a thinking budget of {budget}")


def _name(tool: Mapping[str, Any]) -> Any:
    function = tool.get("function")
    return function.get("name") if isinstance(function, dict) else None


def _message(message: JSON) -> JSON:
    content = _content(message.get("content"))
    match message["role"]:
        case "assistant":
            return {"role": "assistant", **_said(content, message)}
        case "tool" | "function":
            return {"role": "tool", "tool_call_id": message.get("tool_call_id", ""), "content": content}
        case "developer":
            return {"role": "system", "content": content}
        case role:
            return {"role": role, "content": content}


def _said(content: Any, message: JSON) -> JSON:
    """What the assistant reasoned before it called tools is its plan, which the model wants back."""
    if not (calls := message.get("tool_calls")):
        return {"content": content}
    plan = message.get("reasoning_content")
    return {**({"content": content} if content else {}), **({"tool_plan": plan} if plan else {}), "tool_calls": calls}


def _content(content: Any) -> Any:
    return [_part(part) for part in content] if isinstance(content, list) else content or ""


def _part(part: JSON) -> JSON:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": part["text"]}
        case "refusal":
            return {"type": "text", "text": part.get("refusal") or "-"}
        case "image_url":
            return {"type": "image_url", "image_url": part["image_url"]}
        case "document":
            return part
        case _:
            raise unknown_part(part)


def rerank_body(call: Call, table: ParameterTable) -> JSON:
    return {"model": call.target.upstream_id, **table.apply(call)}
