"""Mistral AI. OpenAI's dialect, but every field that Mistral does not know is refused."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from connections.providers import wire
from connections.providers.bearer import BearerDialect, BearerSettings, own_address
from connections.providers.calls import JSON, Adjustment, Answer, Call, Mode, ModelInfo, Target
from connections.providers.conversation import function_of
from connections.providers.errors import ModelMissing, ProviderError, RequestRefused
from connections.providers.fields import OpenAIUrl
from connections.providers.mistral_models import CATALOGUE, LEGACY, known
from connections.providers.openai_dialect import Quirks
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.problems import SENTENCES
from connections.providers.shapes import mapping, string

BASE_URL = "https://api.mistral.ai/v1"
OWN = ("guardrails", "output_dtype", "prediction", "prompt_mode", "safe_prompt")
"""Parameters that only Mistral knows."""
UNKNOWN_MODEL = "invalid_model"
CAPABILITIES: Mapping[str, str] = {"vision": "vision", "function_calling": "tools", "reasoning": "reasoning"}
_ID = re.compile(r"[A-Za-z0-9]{9}")
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Mistral(BearerDialect):
    kind = "mistral"
    label = "Mistral AI"
    summary = "Mistral, Ministral and Codestral models from Mistral."
    mark = "mistral"
    order = 40
    docs_url = "https://console.mistral.ai/api-keys"
    modes = frozenset({Mode.CHAT, Mode.EMBEDDING})
    catalogue = CATALOGUE
    price_provider = "mistral"
    parameters = ParameterTable.of(
        *("top_p", "max_tokens", "stop", "n", "presence_penalty", "frequency_penalty", "response_format", "tools"),
        *("tool_choice", "parallel_tool_calls", "reasoning_effort", "metadata", "prompt_cache_key"),
        *("encoding_format", *OWN),
        temperature=Rule(minimum=0, maximum=1.5),
        seed=Rule("random_seed"),
        dimensions=Rule("output_dimension"),
    )

    class Settings(BearerSettings):
        base_url: OpenAIUrl = own_address(BASE_URL, "Change it only for a gateway that speaks Mistral's dialect.")

    settings: Settings

    @property
    def takes_stream_options(self) -> bool:
        return False

    def quirks(self, target: Target) -> Quirks:
        return Quirks(_refused(target))

    def body(self, call: Call) -> dict[str, Any]:
        body = super().body(call)
        if call.mode is Mode.CHAT:
            body["messages"] = _messages(call, wire.plain(body["messages"]))
            _mend_tools(call, body)
            _mend_effort(call, body)
        return body

    def problem(self, answer: Answer) -> ProviderError:
        """A model that is not there is told as a bad request."""
        error = super().problem(answer)
        if type(error) is RequestRefused and UNKNOWN_MODEL.encode() in answer.body:
            return ModelMissing(SENTENCES[ModelMissing], evidence=error.evidence, status=answer.status)
        return error

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        """None: a model for reading pages, judging texts or sound."""
        info, can = super().model(item), mapping(item.get("capabilities"))
        if info is None or (info.mode is Mode.CHAT and can.get("completion_chat") is False):
            return None
        context, ends = item.get("max_context_length"), string(item, "deprecation")[:10]
        told = frozenset(ours for theirs, ours in CAPABILITIES.items() if can.get(theirs) is True)
        listed = known(info.id) or info
        return replace(
            listed,
            id=info.id,
            context=context if isinstance(context, int) else listed.context,
            capabilities=(told | {"system", "json_schema"}) if told else listed.capabilities,
            lifecycle="deprecated" if ends else "",
            ends=ends,
            replacement=string(item, "deprecation_replacement_model"),
        )


def _refused(target: Target) -> frozenset[str]:
    """What the model does not take."""
    if target.mode is Mode.EMBEDDING:
        return frozenset() if "codestral" in target.known_as else frozenset({"dimensions", "output_dtype"})
    if target.known_as.startswith(LEGACY):
        return frozenset({"tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "response_format"})
    listed = known(target.known_as)
    reasons = target.capabilities or (listed.capabilities if listed else frozenset())
    return frozenset() if "reasoning" in reasons else frozenset({"reasoning_effort"})


def _mend_effort(call: Call, body: JSON) -> None:
    """There is all or nothing."""
    effort = wire.plain(body.get("reasoning_effort"))
    if effort not in {None, "none", "high"}:
        body["reasoning_effort"] = "high"
        call.adjusted.append(Adjustment("reasoning_effort", "set to high"))


def _mend_tools(call: Call, body: JSON) -> None:
    tools = wire.plain(body.pop("tools", None))
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
        return
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.pop(name, None) is not None:
            call.adjusted.append(Adjustment(name, "dropped"))


def _tool(tool: JSON) -> JSON:
    """Its parameters are never left out."""
    function = function_of(tool)
    return {"type": "function", "function": {"parameters": {"type": "object", "properties": {}}, **function}}


# --- messages --------------------------------------------------------------------------------------------


def _messages(call: Call, messages: Sequence[JSON]) -> list[JSON]:
    """Instructions first, and of each message only what Mistral knows."""
    system = [message for message in messages if message["role"] in {"system", "developer"}]
    if system != list(messages[: len(system)]):
        call.adjusted.append(Adjustment("messages", "changed: all system text moved to the front"))
    turns = [_message(message) for message in messages if message not in system]
    if turns and turns[-1]["role"] == "assistant" and "tool_calls" not in turns[-1]:
        turns[-1]["prefix"] = True
        call.adjusted.append(Adjustment("messages", "changed: the last answer is to be continued"))
    return [{"role": "system", "content": _content(message.get("content"))} for message in system] + turns


def _message(message: JSON) -> JSON:
    made: JSON = {"role": message["role"], "content": _content(message.get("content"))}
    if made["content"] is None and message.get("refusal"):
        made["content"] = message["refusal"]
    if message.get("tool_calls"):
        made["tool_calls"] = [_tool_call(one) for one in message["tool_calls"]]
    if message["role"] == "tool":
        made["tool_call_id"] = short_id(message.get("tool_call_id", ""))
        made |= {"name": message["name"]} if message.get("name") else {}
    return made


def _content(content: Any) -> Any:
    return [_part(part) for part in content] if isinstance(content, list) else content


def _part(part: JSON) -> JSON:
    match part.get("type"):
        case "image_url":
            return {"type": "image_url", "image_url": {"url": part["image_url"]["url"]}}
        case "refusal":
            return {"type": "text", "text": part.get("refusal") or "-"}
        case _:
            return {"type": "text", "text": part.get("text", "")}


def _tool_call(call: JSON) -> JSON:
    function = mapping(call.get("function"))
    told = {"name": string(function, "name"), "arguments": string(function, "arguments") or "{}"}
    return {"id": short_id(call.get("id", "")), "type": "function", "function": told}


def short_id(name: str) -> str:
    """Nine letters, which is all that Mistral takes; the same for the same id, wherever it stands."""
    if _ID.fullmatch(name):
        return name
    number = int.from_bytes(hashlib.sha256(name.encode()).digest())
    return "".join(_LETTERS[number // 62**place % 62] for place in range(9))
