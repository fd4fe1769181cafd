"""Claude 1, 2 and Instant: a text that ends with the assistant's turn, answered without token counts."""

from collections.abc import Iterable, Mapping
from typing import Any

from connections.providers.calls import JSON, Adjustment, Call, Target
from connections.providers.model_families.family import TextFamily, Told, length_set, list_of, text_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.prompt_formats import guess

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
DEFAULT_LENGTH = 4096


class ClaudeText(TextFamily):
    name = "claude-text"
    parameters = ParameterTable.of(
        "top_k",
        "top_p",
        max_tokens=Rule("max_tokens_to_sample"),
        stop=Rule("stop_sequences"),
        temperature=Rule(minimum=0, maximum=1),
    )
    reasons = {"stop_sequence": "stop", "max_tokens": "length"}

    def format_for(self, target: Target) -> str:
        """Only the last of them knows instructions outside the human's turns."""
        guessed = guess(target.known_as)
        return guessed if guessed in {"claude", "claude-2.1"} else "claude"

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        prompt = text_of(given.pop("prompt"))
        if (made := in_turns(prompt)) != prompt:
            call.adjusted.append(Adjustment("prompt", "put into a human's turn"))
        length_set(call, given, "max_tokens_to_sample", DEFAULT_LENGTH)
        if "stop_sequences" in given:
            given["stop_sequences"] = list_of(given["stop_sequences"])
        return {"prompt": made, **given}

    def answers(self, content: Mapping[str, Any]) -> Iterable[Told]:
        if isinstance(content.get("completion"), str):
            yield Told(content["completion"], content.get("stop_reason"))


def in_turns(prompt: str) -> str:
    """These models refuse a text that does not hold a human's turn and, after it, the beginning of theirs."""
    if HUMAN not in prompt:
        return f"{HUMAN} {prompt}{ASSISTANT}"
    return prompt if ASSISTANT in prompt[prompt.rindex(HUMAN) :] else f"{prompt}{ASSISTANT}"
