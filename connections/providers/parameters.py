"""The common parameters, and how each provider takes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connections.providers.calls import JSON, Adjustment, Call, Mode


@dataclass(frozen=True, slots=True)
class Parameter:
    """One common parameter: what callers may send, how the playground shows it."""

    kind: str
    """number, integer, boolean, string, list, object, any"""
    label: str = ""
    minimum: float | None = None
    maximum: float | None = None
    help: str = ""
    modes: frozenset[Mode] = frozenset({Mode.CHAT, Mode.COMPLETION})


COMMON: Mapping[str, Parameter] = {
    "temperature": Parameter("number", "Temperature", 0, 2, "Higher values give more varied answers."),
    "top_p": Parameter("number", "Top P", 0, 1, "Share of the probability mass to choose from."),
    "max_tokens": Parameter("integer", "Max output tokens", 1, 2_000_000),
    "max_completion_tokens": Parameter("integer", "", 1, 2_000_000, modes=frozenset({Mode.CHAT})),
    "stop": Parameter("list", "Stop sequences", help="Up to four texts that end the answer."),
    "seed": Parameter("integer", "Seed", -(2**63), 2**63 - 1, "Same seed, same answer, where supported."),
    "presence_penalty": Parameter("number", "Presence penalty", -2, 2),
    "frequency_penalty": Parameter("number", "Frequency penalty", -2, 2),
    "top_k": Parameter("integer", "Top K", 0, 10_000, "Choose from the k likeliest tokens."),
    "min_p": Parameter("number", "Min P", 0, 1),
    "repetition_penalty": Parameter("number", "Repetition penalty", 0, 10),
    "n": Parameter("integer", "", 1, 128),
    "best_of": Parameter("integer", "", 1, 128, modes=frozenset({Mode.COMPLETION})),
    "logprobs": Parameter("any", ""),
    "top_logprobs": Parameter("integer", "", 0, 20, modes=frozenset({Mode.CHAT})),
    "logit_bias": Parameter("object", ""),
    "response_format": Parameter("object", "Response format", modes=frozenset({Mode.CHAT})),
    "tools": Parameter("list", "", modes=frozenset({Mode.CHAT})),
    "tool_choice": Parameter("any", "", modes=frozenset({Mode.CHAT})),
    "parallel_tool_calls": Parameter("boolean", "", modes=frozenset({Mode.CHAT})),
    "reasoning_effort": Parameter("string", "Reasoning effort", modes=frozenset({Mode.CHAT})),
    "verbosity": Parameter("string", "", modes=frozenset({Mode.CHAT})),
    "metadata": Parameter("object", "", modes=frozenset({Mode.CHAT})),
    "store": Parameter("boolean", "", modes=frozenset({Mode.CHAT})),
    "service_tier": Parameter("string", "", modes=frozenset({Mode.CHAT})),
    "prompt_cache_key": Parameter("string", "", modes=frozenset({Mode.CHAT})),
    "safety_identifier": Parameter("string", "", modes=frozenset({Mode.CHAT})),
    "user": Parameter("string", "", modes=frozenset(Mode)),
    "echo": Parameter("boolean", "", modes=frozenset({Mode.COMPLETION})),
    "suffix": Parameter("string", "", modes=frozenset({Mode.COMPLETION})),
    "dimensions": Parameter("integer", "Dimensions", 1, 100_000, modes=frozenset({Mode.EMBEDDING})),
    "encoding_format": Parameter("string", "", modes=frozenset({Mode.EMBEDDING})),
    "input_type": Parameter("string", "Input type", help="query or document.", modes=frozenset({Mode.EMBEDDING})),
}
"""The parameters of chats, completions and embeddings, beside `model`, what is asked, and `stream…`."""

_IMAGE: Mapping[str, Parameter] = {
    "n": Parameter("integer", "Images", 1, 10),
    "size": Parameter("string", "Size", help="Width x height in pixels, as in 1024x1024, or auto."),
    "aspect_ratio": Parameter("string", "Aspect ratio", help="As in 16:9, for models that take no size."),
    "quality": Parameter("string", "Quality"),
    "style": Parameter("string", "Style"),
    "style_preset": Parameter("string", "Style preset"),
    "negative_prompt": Parameter("string", "Negative prompt", help="What the picture must not show."),
    "seed": Parameter("integer", "Seed", 0, 2**63 - 1),
    "steps": Parameter("integer", "Steps", 1, 500),
    "cfg_scale": Parameter("number", "Prompt strength", 0, 100),
    "background": Parameter("string", "Background"),
    "moderation": Parameter("string", ""),
    "output_format": Parameter("string", "File format", help="png, jpeg or webp."),
    "output_compression": Parameter("integer", "Compression", 0, 100),
    "response_format": Parameter("string", "", help="url or b64_json."),
    "user": Parameter("string", ""),
}
_RERANK: Mapping[str, Parameter] = {
    "top_n": Parameter("integer", "Best results", 1, 10_000),
    "max_tokens_per_doc": Parameter("integer", "", 1, 1_000_000),
    "return_documents": Parameter("boolean", ""),
}
_TEXT_MODES = (Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING)

KNOWN: Mapping[Mode, Mapping[str, Parameter]] = {
    **{mode: {name: one for name, one in COMMON.items() if mode in one.modes} for mode in _TEXT_MODES},
    Mode.IMAGE: _IMAGE,
    Mode.RERANK: _RERANK,
}
"""Every parameter that `/v1` knows, by what is asked."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one provider takes one common parameter."""

    name: str = ""
    """Its name there; empty: the same."""
    minimum: float | None = None
    maximum: float | None = None
    """Values beyond are clamped, and that is reported."""


_SAME = Rule()
_INPUT = frozenset({"messages", "prompt", "input", "query", "documents"})
_STREAMING = frozenset({"model", "stream", "stream_options"})
"""Set by the dialects themselves."""


@dataclass(frozen=True)
class ParameterTable:
    """The parameters a provider takes. A common one that is not listed is dropped, and that is reported.

    A provider may list names of its own beyond the common ones: callers may send these too. What the connection
    forwards passes unchanged.
    """

    rules: Mapping[str, Rule]

    @classmethod
    def of(cls, *same: str, **changed: Rule) -> "ParameterTable":
        return cls({**dict.fromkeys(same, _SAME), **changed})

    def without(self, *names: str) -> "ParameterTable":
        return ParameterTable({name: rule for name, rule in self.rules.items() if name not in names})

    def changed(self, **rules: Rule) -> "ParameterTable":
        return ParameterTable({**self.rules, **rules})

    def takes(self, name: str) -> bool:
        return name in self.rules

    def apply(self, call: Call) -> JSON:
        """The call's input and parameters under the provider's names; a null means not given."""
        body: JSON = {}
        known = KNOWN[call.mode]
        for name, value in call.body.items():
            if value is None or name in _STREAMING:
                continue
            rule = self.rules.get(name)
            if rule is _SAME or name in _INPUT:
                body[name] = value
            elif rule is not None:
                self._place(call, body, name, value, rule)
            elif name in known and name not in call.forwarded:
                call.adjusted.append(Adjustment(name, "dropped"))
            else:
                body[name] = value
        return body

    @staticmethod
    def _place(call: Call, body: JSON, name: str, value: Any, rule: Rule) -> None:
        """Under its new name; a parameter that the caller sent under that name already wins."""
        new = rule.name or name
        if new != name:
            if new in body or call.body.get(new) is not None:
                call.adjusted.append(Adjustment(name, "dropped"))
                return
            call.adjusted.append(Adjustment(name, f"renamed to {new}"))
        body[new] = _clamped(call, name, value, rule)


def _clamped(call: Call, name: str, value: Any, rule: Rule) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    bounded = value if rule.minimum is None else max(value, rule.minimum)
    bounded = bounded if rule.maximum is None else min(bounded, rule.maximum)
    if bounded != value:
        call.adjusted.append(Adjustment(name, f"clamped to {bounded}"))
    return bounded
