"""Anthropic's models as its notices describe them (November 2026), and in what their requests differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connections.providers.calls import ModelInfo
from connections.providers.settings import ModelOptions, setting

Thinking = Literal["adaptive", "effort", "budget", "none"]
Answer = Literal["", "yes", "no"]


class ClaudeOptions(ModelOptions):
    """Each replaces what is known of the model."""

    thinking: Literal["", Thinking] = setting(
        "How it is told to think",
        default="",
        help="adaptive: it decides itself within an effort. effort: an effort alone. budget: a number of tokens. "
        "none: not at all. Empty: what is known of the model.",
    )
    sampling: Answer = setting(
        "Takes temperature, top_p and top_k", default="", help="Empty: what is known of the model."
    )
    both: Answer = setting(
        "Takes temperature and top_p together", default="", help="Empty: what is known of the model."
    )


@dataclass(frozen=True, slots=True)
class Quirks:
    """How one model differs."""

    thinking: Thinking = "adaptive"
    """How it is told to reason: it decides itself within an effort, an effort alone, a budget of tokens, not at all."""
    sampling: bool = False
    """Whether it takes temperature, top_p and top_k."""
    both: bool = False
    """Whether it takes temperature and top_p together."""

    def overridden(self, options: Mapping[str, Any]) -> "Quirks":
        """With what an admin set for the model, among whatever else there is to set."""
        given = {name: options[name] for name in self.__slots__ if name in options}
        if not given:
            return self
        wishes = ClaudeOptions.stored(given)
        return Quirks(
            thinking=wishes.thinking or self.thinking,
            sampling=self.sampling if not wishes.sampling else wishes.sampling == "yes",
            both=self.both if not wishes.both else wishes.both == "yes",
        )


QUIRKS: Mapping[str, Quirks] = {
    "claude-opus-4-8": Quirks(),
    "claude-opus-4-7": Quirks(),
    "claude-opus-4-6": Quirks("adaptive", sampling=True),
    "claude-sonnet-4-6": Quirks("adaptive", sampling=True),
    "claude-opus-4-5": Quirks("effort", sampling=True),
    "claude-opus-4": Quirks("budget", sampling=True),
    "claude-sonnet-4": Quirks("budget", sampling=True),
    "claude-haiku-4": Quirks("budget", sampling=True),
    "claude-3-7": Quirks("budget", sampling=True, both=True),
    "claude-3": Quirks("none", sampling=True, both=True),
    "claude-2": Quirks("none", sampling=True, both=True),
    "claude-instant": Quirks("none", sampling=True, both=True),
}
"""By the beginning of a model's id; the first that fits counts, and newer models fit none."""


def quirks_of(name: str) -> Quirks:
    return next((quirks for start, quirks in QUIRKS.items() if name.startswith(start)), Quirks())


CAN = frozenset({"vision", "tools", "json_schema", "system", "reasoning"})
CONTEXT = 200_000


def _current(name: str, label: str, max_output: int) -> ModelInfo:
    return ModelInfo(name, label=label, family="claude", context=CONTEXT, max_output=max_output, capabilities=CAN)


def _ending(name: str, label: str, ends: str, replacement: str, lifecycle: str = "retired") -> ModelInfo:
    return ModelInfo(
        name,
        label=label,
        family="claude",
        context=CONTEXT,
        capabilities=CAN,
        lifecycle=lifecycle,
        ends=ends,
        replacement=replacement,
    )


CATALOGUE = (
    _current("claude-opus-5-5", "Claude Opus 5.5", 128_000),
    _current("claude-sonnet-5-5", "Claude Sonnet 5.5", 64_000),
    _current("claude-haiku-5-5", "Claude Haiku 5.5", 64_000),
    _current("claude-opus-5", "Claude Opus 5", 128_000),
    _current("claude-sonnet-5", "Claude Sonnet 5", 64_000),
    _current("claude-fable-5-2", "Claude Fable 5.2", 64_000),
    _current("claude-opus-4-8", "Claude Opus 4.8", 128_000),
    _current("claude-opus-4-7", "Claude Opus 4.7", 128_000),
    _current("claude-opus-4-6", "Claude Opus 4.6", 128_000),
    _current("claude-sonnet-4-6", "Claude Sonnet 4.6", 64_000),
    _current("claude-haiku-4-5", "Claude Haiku 4.5", 64_000),
    _ending("claude-sonnet-4-5", "Claude Sonnet 4.5", "2026-11-30", "claude-sonnet-4-6", "deprecated"),
    _ending("claude-opus-4-20250514", "Claude Opus 4", "2026-06-15", "claude-opus-5-5"),
    _ending("claude-sonnet-4-20250514", "Claude Sonnet 4", "2026-06-15", "claude-sonnet-5-5"),
    _ending("claude-3-7-sonnet-20250219", "Claude Sonnet 3.7", "2026-02-19", "claude-sonnet-5-5"),
    _ending("claude-3-5-haiku-20241022", "Claude Haiku 3.5", "2026-02-19", "claude-haiku-5-5"),
    _ending("claude-3-opus-20240229", "Claude Opus 3", "2026-01-05", "claude-opus-5-5"),
    _ending("claude-2.1", "Claude 2.1", "2025-07-21", "claude-sonnet-5-5"),
    _ending("claude-2.0", "Claude 2.0", "2025-07-21", "claude-sonnet-5-5"),
    _ending("claude-instant-1.2", "Claude Instant 1.2", "2024-11-06", "claude-haiku-5-5"),
)
