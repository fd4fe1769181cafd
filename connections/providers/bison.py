"""PaLM's chat and text models, through `predict`. Google has switched them off; private hosts may still have them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connections.providers import problems, wire
from connections.providers.calls import JSON, Adjustment, Call, Mode, Reply, Usage
from connections.providers.contract import Abilities
from connections.providers.errors import ContentFiltered
from connections.providers.google_family import GoogleFamily
from connections.providers.model_families.family import NOT_TOLD, list_of, text_in, text_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import completion_reply, decoded, mapping, mappings, string

CHOICES = 4
FILTERED = "The provider's filter let no answer through. Change the prompt."
AUTHORS: Mapping[str, str] = {"user": "user", "tool": "user", "assistant": "bot"}
TABLE = ParameterTable.of(
    "seed",
    temperature=Rule(minimum=0, maximum=1),
    top_p=Rule("topP"),
    top_k=Rule("topK"),
    max_tokens=Rule("maxOutputTokens"),
    stop=Rule("stopSequences"),
    presence_penalty=Rule("presencePenalty"),
    frequency_penalty=Rule("frequencyPenalty"),
)
CHAT_TABLE = TABLE.changed(max_completion_tokens=Rule("maxOutputTokens"), n=Rule("candidateCount"))


class ChatBison(GoogleFamily):
    name = "chat_bison"
    mode = Mode.CHAT
    parameters = CHAT_TABLE
    can: ClassVar[Abilities] = Abilities(streams=False, choices=CHOICES, image_urls=False)

    def body(self, call: Call) -> JSON:
        given = plain_parameters(call, self.parameters)
        context, messages = conversation(call, given.pop("messages"))
        instance = {**({"context": context} if context else {}), "messages": messages}
        return {"instances": [instance], **({"parameters": given} if given else {})}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        first, usage = _first(body, secrets)
        texts = [item["content"] for item in mappings(first.get("candidates")) if isinstance(item.get("content"), str)]
        if not texts:
            raise problems.unreadable(body, secrets)
        return answers(texts, usage, call.target.upstream_id)


class TextBison(GoogleFamily):
    name = "text_bison"
    mode = Mode.COMPLETION
    parameters = TABLE
    can: ClassVar[Abilities] = Abilities(streams=False, choices=1, prompts=1)

    def body(self, call: Call) -> JSON:
        given = plain_parameters(call, self.parameters)
        instance = {"prompt": text_of(given.pop("prompt"))}
        return {"instances": [instance], **({"parameters": given} if given else {})}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        first, usage = _first(body, secrets)
        if not isinstance(first.get("content"), str):
            raise problems.unreadable(body, secrets)
        return completion_reply([(first["content"], "stop")], usage, model=call.target.upstream_id)


def plain_parameters(call: Call, table: ParameterTable) -> JSON:
    given = {name: wire.plain(value) for name, value in table.apply(call).items()}
    if "stopSequences" in given:
        given["stopSequences"] = list_of(given["stopSequences"])
    return given


def conversation(call: Call, messages: Sequence[JSON]) -> tuple[str, list[JSON]]:
    """The context, which stands apart, and who said what."""
    system = [message for message in messages if message["role"] not in AUTHORS]
    if system != messages[: len(system)]:
        call.adjusted.append(Adjustment("messages", "changed: all system text moved to the front"))
    context = "\n\n".join(filter(None, map(text_in, system)))
    said = [{"author": AUTHORS[one["role"]], "content": text_in(one)} for one in messages if one["role"] in AUTHORS]
    return context, [message for message in said if message["content"]]


def answers(texts: Sequence[str], usage: Usage, model: str) -> Reply:
    """Several answers of a chat; these systems name no reason for which an answer ended."""
    choices = [
        {"index": place, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "stop"}
        for place, text in enumerate(texts)
    ]
    whole = {"id": "chatcmpl-unnamed", "object": "chat.completion", "created": 0, "model": model, "choices": choices}
    return Reply(wire.encode({**whole, "usage": usage.as_openai()}), usage, "stop", model)


def _first(body: bytes, secrets: Sequence[str]) -> tuple[Mapping[str, Any], Usage]:
    """The prediction for the one instance. Raises ContentFiltered."""
    content = decoded(body, secrets)
    first = next(iter(mappings(content.get("predictions"))), None)
    if first is None:
        raise problems.unreadable(body, secrets)
    usage, attributes = _usage(content.get("metadata")), first.get("safetyAttributes")
    if any(item.get("blocked") is True for item in mappings(attributes) or [mapping(attributes)]):
        raise ContentFiltered(FILTERED, evidence=string(first, "content"), usage=usage)
    return first, usage


def _usage(metadata: Any) -> Usage:
    """Some pages write these names with underscores."""
    counts = _named(metadata, "tokenMetadata", "token_metadata")
    given = _named(counts, "inputTokenCount", "input_token_count")
    spent = _named(counts, "outputTokenCount", "output_token_count")
    return wire.usage(_named(given, "totalTokens", "total_tokens"), _named(spent, "totalTokens", "total_tokens"))


def _named(values: Any, *names: str) -> Any:
    return next((values[name] for name in names if name in values), None) if isinstance(values, dict) else None
