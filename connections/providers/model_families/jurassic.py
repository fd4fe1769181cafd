"""AI21's Jurassic-2: penalties are objects, and there is no stream."""

from collections.abc import Iterable, Mapping
from typing import Any

from connections.providers import wire
from connections.providers.calls import JSON, Call, Usage
from connections.providers.contract import Abilities
from connections.providers.model_families.family import TextFamily, Told, list_of, text_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import mapping, mappings

PENALTIES = ("countPenalty", "frequencyPenalty", "presencePenalty")


class Jurassic2(TextFamily):
    name = "jurassic-2"
    can = Abilities(streams=False, choices=1, inputs=1, prompts=1, image_urls=False)
    parameters = ParameterTable.of(
        "countPenalty",
        max_tokens=Rule("maxTokens"),
        stop=Rule("stopSequences"),
        temperature=Rule(minimum=0, maximum=1),
        top_p=Rule("topP"),
        frequency_penalty=Rule("frequencyPenalty", minimum=0),
        presence_penalty=Rule("presencePenalty", minimum=0),
    )
    reasons = {"endoftext": "stop", "stop": "stop", "length": "length"}

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        given["prompt"] = text_of(given["prompt"])
        if "stopSequences" in given:
            given["stopSequences"] = list_of(given["stopSequences"])
        scaled = {name: {"scale": given[name]} for name in PENALTIES if isinstance(given.get(name), int | float)}
        return {**given, **scaled}

    def answers(self, content: Mapping[str, Any]) -> Iterable[Told]:
        for one in mappings(content.get("completions")):
            text = mapping(one.get("data")).get("text")
            if isinstance(text, str):
                yield Told(text, mapping(one.get("finishReason")).get("reason"))

    def usage(self, content: Mapping[str, Any]) -> Usage:
        """What it tells are the tokens themselves."""
        asked = mapping(content.get("prompt")).get("tokens")
        answered = [mapping(one.get("data")).get("tokens") for one in mappings(content.get("completions"))]
        told = [tokens for tokens in answered if isinstance(tokens, list)]
        return wire.usage(
            len(asked) if isinstance(asked, list) else None,
            sum(map(len, told)) if told and len(told) == len(answered) else None,
        )
