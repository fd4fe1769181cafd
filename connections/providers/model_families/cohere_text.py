"""Cohere's Command and Command Light, which continue a text; `/v1/generate` at Cohere itself speaks the same."""

from collections.abc import Iterable, Mapping
from typing import Any

from connections.providers.calls import JSON, Adjustment, Call, Usage
from connections.providers.contract import Abilities
from connections.providers.errors import ProviderError, ServerFailed, TimedOut
from connections.providers.model_families.cohere_usage import usage_of
from connections.providers.model_families.family import TextFamily, Told, list_of, text_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import mapping, mappings

MAX_GENERATIONS = 5
P = Rule("p", minimum=0.01, maximum=0.99)
REASONS: Mapping[str, str] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
    "TOOL_CALL": "tool_calls",
}
"""Cohere's words for the end of an answer, in all its routes."""
FAILURES: Mapping[str, type[ProviderError]] = {"ERROR": ServerFailed, "TIMEOUT": TimedOut, "USER_CANCEL": ServerFailed}


def one_penalty(call: Call, given: JSON) -> None:
    """Many models refuse both at once."""
    if given.get("frequency_penalty") and given.get("presence_penalty"):
        del given["presence_penalty"]
        call.adjusted.append(Adjustment("presence_penalty", "dropped, as frequency_penalty is given"))


class CohereText(TextFamily):
    name = "cohere-command"
    can = Abilities(choices=MAX_GENERATIONS, inputs=1, prompts=1, image_urls=False)
    parameters = ParameterTable.of(
        "max_tokens",
        n=Rule("num_generations"),
        stop=Rule("stop_sequences"),
        temperature=Rule(minimum=0, maximum=5),
        top_k=Rule("k", minimum=0, maximum=500),
        top_p=P,
    )
    reasons = REASONS
    failures = FAILURES

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        given["prompt"] = text_of(given["prompt"])
        one_penalty(call, given)
        for name in ("stop_sequences", "end_sequences"):
            if name in given:
                given[name] = list_of(given[name])
        return {**given, "stream": True} if call.stream else given

    def answers(self, content: Mapping[str, Any]) -> Iterable[Told]:
        for one in mappings(content.get("generations")):
            if isinstance(one.get("text"), str):
                yield Told(one["text"], one.get("finish_reason"))

    def pieces(self, chunk: Mapping[str, Any]) -> Iterable[Told]:
        """The last chunk may list all answers once more: each with the reason for its end."""
        text, index = chunk.get("text"), chunk.get("index")
        if not chunk.get("is_finished"):
            yield Told(text if isinstance(text, str) else "", None, index if isinstance(index, int) else 0)
            return
        whole = mappings(mapping(chunk.get("response")).get("generations"))
        for place, one in enumerate(whole):
            at = one.get("index")
            yield Told(
                "",
                one.get("finish_reason") or chunk.get("finish_reason") or "COMPLETE",
                at if isinstance(at, int) else place,
            )
        if not whole:
            yield Told(text if isinstance(text, str) else "", chunk.get("finish_reason") or "COMPLETE")

    def usage(self, content: Mapping[str, Any]) -> Usage:
        return usage_of(mapping(content.get("meta") or mapping(content.get("response")).get("meta")))
