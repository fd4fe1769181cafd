"""What goes to a provider and what comes back.

The internal language is OpenAI's: a `Call` carries a chat-completions (or completions, embeddings, images) body,
a `Reply` the matching answer. Reranking, which OpenAI does not have, is asked and answered as Cohere does.

What every call makes anew are msgspec's structs, which are made five times as fast as dataclasses; a changed copy is
`msgspec.structs.replace`.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from msgspec import Struct

JSON = dict[str, Any]
T = TypeVar("T")


class Mode(StrEnum):
    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    IMAGE = "image"
    RERANK = "rerank"


class Framing(StrEnum):
    """How a stream's bytes fall into frames."""

    SSE = "sse"
    SSE_NAMED = "sse-named"
    """Server-sent events whose name alone may say something, without any data."""
    NDJSON = "ndjson"
    """One JSON text per line."""
    NUL = "nul"
    """JSON texts, each followed by a zero byte."""
    EVENT_STREAM = "event_stream"
    """AWS's binary messages (`application/vnd.amazon.eventstream`)."""


class Frame(Struct, frozen=True, gc=False):
    """One event of a stream: its name (empty when unnamed) and its data without the framing."""

    event: str
    data: bytes


class Usage(Struct, frozen=True, gc=False):
    """Tokens of one call; None: the provider did not say. Cached and reasoning tokens are parts, not extras."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    """Part of prompt_tokens read from the provider's cache."""
    cache_write_tokens: int = 0
    """Part of prompt_tokens written to the provider's cache."""
    reasoning_tokens: int = 0
    """Part of completion_tokens."""
    images: int = 0
    image_class: str = ""
    """What a picture's price depends on, in the price table's words: `hd 1024x1792`."""
    search_units: int = 0
    seconds: float = 0.0
    """Of machine time, where the provider bills by it."""
    billed_prompt_tokens: int | None = None
    billed_completion_tokens: int | None = None
    """What is charged, where the provider says that it differs from what was processed."""
    estimated: bool = False
    suspect: bool = False
    """The provider reported a negative or absurd number, which was clamped."""

    def __add__(self, other: "Usage") -> "Usage":
        """Of two calls together; a number that one of them did not tell counts as not told."""
        return Usage(
            prompt_tokens=_sum(self.prompt_tokens, other.prompt_tokens),
            completion_tokens=_sum(self.completion_tokens, other.completion_tokens),
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            images=self.images + other.images,
            image_class=self.image_class or other.image_class,
            search_units=self.search_units + other.search_units,
            seconds=self.seconds + other.seconds,
            billed_prompt_tokens=_sum(self.billed_prompt_tokens, other.billed_prompt_tokens),
            billed_completion_tokens=_sum(self.billed_completion_tokens, other.billed_completion_tokens),
            estimated=self.estimated or other.estimated,
            suspect=self.suspect or other.suspect,
        )

    def as_openai(self) -> JSON:
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One change made to a request: reported in `x-mesh-adjusted`, the usage row and the playground."""

    parameter: str
    what: str
    """"dropped", "renamed to max_completion_tokens", "clamped to 1", "set to 4096" …"""

    def __str__(self) -> str:
        return f"{self.parameter} {self.what}"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as a catalogue or a provider's list describes it; None: not said."""

    id: str
    mode: Mode = Mode.CHAT
    label: str = ""
    family: str = ""
    context: int | None = None
    """Tokens that prompt and answer may have together."""
    max_output: int | None = None
    capabilities: frozenset[str] = frozenset()
    """Of: vision, tools, json_schema, reasoning, embedding_dimensions, system."""
    lifecycle: str = ""
    """"", "deprecated", "retired"."""
    ends: str = ""
    """ISO date of retirement."""
    replacement: str = ""
    underlying: str = ""
    """The well-known model behind it, where its id does not tell."""


class Target(Struct, frozen=True):
    """The allowed model that a call goes to, as its connection declares it."""

    upstream_id: str
    mode: Mode = Mode.CHAT
    underlying: str = ""
    """The well-known model behind a deployment name; for prices and quirks."""
    capabilities: frozenset[str] = frozenset()
    context: int | None = None
    max_output: int | None = None
    options: Mapping[str, Any] = {}
    """What an admin set for this model, as the provider's `ModelOptions` name it."""

    @property
    def known_as(self) -> str:
        return self.underlying or self.upstream_id


class Call(Struct):
    """One request in OpenAI's shape, already validated. `request` may add to `adjusted`."""

    mode: Mode
    target: Target
    body: JSON
    """Without `model`; values that policy does not need may be `msgspec.Raw`."""
    stream: bool = False
    wants_usage: bool = True
    """Whether the caller asked for the usage chunk of a stream."""
    forwarded: frozenset[str] = frozenset()
    """Names beyond the common ones that the connection lets through unchanged."""
    adjusted: list[Adjustment] = []
    request_id: str = ""
    """Ours, for providers that join their logs with it."""
    on_leave: "Outgoing | None" = None
    """Sent when the caller leaves before the end, where closing the connection does not stop the work."""


class Outgoing(Struct, frozen=True):
    """One HTTP request to make. `url` is absolute; `headers` may hold secrets, so repr leaves them out."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Outgoing({self.method!r}, {self.url!r})"


@dataclass(frozen=True, slots=True)
class Pause:
    """A step that only waits."""

    seconds: float


@dataclass(frozen=True, slots=True)
class InThread:
    """A step that a library must take with blocking calls; what it returns is sent back."""

    work: Callable[[], Any]


Steps = Generator[Outgoing | Pause | InThread, Any, T]
"""A dialect that takes several steps: yields each request and is sent its `Answer` (None after a `Pause`)."""


class Answer(Struct, frozen=True):
    """One whole HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Reply(Struct, frozen=True):
    """One whole answer in OpenAI's shape."""

    body: bytes
    """JSON. The provider's own bytes where it speaks the dialect."""
    usage: Usage
    finish_reason: str = ""
    model: str = ""
    """What the provider says it used."""
