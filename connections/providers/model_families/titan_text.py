"""Amazon's Titan Text."""

from collections.abc import Iterable, Mapping
from typing import Any

from connections.providers import wire
from connections.providers.calls import JSON, Call, Target, Usage
from connections.providers.errors import ServerFailed
from connections.providers.model_families.family import TextFamily, Told, list_of, text_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import mappings

LENGTHS: Mapping[str, int] = {"lite": 4096, "express": 8192, "premier": 3072}
"""The most tokens that each of them answers with; more is refused."""


class TitanText(TextFamily):
    name = "titan-text"
    prompt_format = "titan"
    parameters = ParameterTable.of(
        max_tokens=Rule("maxTokenCount"),
        stop=Rule("stopSequences"),
        temperature=Rule(minimum=0, maximum=1),
        top_p=Rule("topP"),
    )
    reasons = {"LENGTH": "length", "CONTENT_FILTERED": "content_filter"}
    failures = {"RAG_QUERY_WHEN_RAG_DISABLED": ServerFailed}

    def parameters_for(self, target: Target) -> ParameterTable:
        most = next((most for size, most in LENGTHS.items() if f"-text-{size}" in target.known_as), None)
        return self.parameters.changed(max_tokens=Rule("maxTokenCount", maximum=most)) if most else self.parameters

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        text = text_of(given.pop("prompt"))
        if "stopSequences" in given:
            given["stopSequences"] = list_of(given["stopSequences"])
        return {"inputText": text, **({"textGenerationConfig": given} if given else {})}

    def answers(self, content: Mapping[str, Any]) -> Iterable[Told]:
        for one in mappings(content.get("results")):
            if isinstance(one.get("outputText"), str):
                yield Told(one["outputText"], one.get("completionReason"))

    def pieces(self, chunk: Mapping[str, Any]) -> Iterable[Told]:
        if isinstance(chunk.get("outputText"), str):
            yield Told(chunk["outputText"], chunk.get("completionReason"))

    def usage(self, content: Mapping[str, Any]) -> Usage:
        results = content.get("results")
        counts = [one.get("tokenCount") for one in mappings(results)]
        told = [number for number in counts if isinstance(number, int)]
        whole = sum(told) if told and len(told) == len(counts) else None
        answered = content.get("totalOutputTextTokenCount") if results is None else whole
        return wire.usage(content.get("inputTextTokenCount"), answered)
