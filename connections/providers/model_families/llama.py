"""Meta's Llama 2 and 3: neither knows stop sequences, so their texts are cut here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from connections.providers import wire
from connections.providers.calls import JSON, Adjustment, Call, Usage
from connections.providers.model_families.family import TextFamily, Told, list_of, text_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.prompt_formats import Rendered

MAX_LENGTH = 2048


class Llama2(TextFamily):
    name = "llama2"
    prompt_format = "llama-2"
    begin = "<s>"
    parameters = ParameterTable.of(
        "stop",
        max_tokens=Rule("max_gen_len", maximum=MAX_LENGTH),
        temperature=Rule(minimum=0, maximum=1),
        top_p=Rule(minimum=0, maximum=1),
    )
    reasons = {"stop": "stop", "length": "length"}

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        given["prompt"] = text_of(given["prompt"])
        if given.pop("stop", None) is not None:
            call.adjusted.append(Adjustment("stop", "applied to the answer, as the model takes none"))
        return given

    def prompt(self, call: Call) -> Rendered:
        """The model ends its turn by itself."""
        return replace(super().prompt(call), stops=())

    def stops(self, call: Call) -> Sequence[str]:
        return list_of(call.body.get("stop"))

    def answers(self, content: Mapping[str, Any]) -> Iterable[Told]:
        if isinstance(content.get("generation"), str):
            yield Told(content["generation"], content.get("stop_reason"))

    def usage(self, content: Mapping[str, Any]) -> Usage:
        """A stream tells the prompt's tokens once, the answer's as they grow."""
        return wire.usage(content.get("prompt_token_count"), content.get("generation_token_count"))


class Llama3(Llama2):
    name = "llama3"
    prompt_format = "llama-3"
    begin = "<|begin_of_text|>"
