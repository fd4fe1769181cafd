"""What every family of models promises, and what those share that only continue a text.

A family knows the JSON that its models take and give where they are invoked without a chat API of the host's. Who
carries it (Bedrock, SageMaker, Vertex, a vendor's own old route) adds address, proof and framing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from msgspec import structs

from connections.providers import problems, prompt_formats, wire
from connections.providers.calls import JSON, Adjustment, Call, Frame, Mode, Reply, Target, Usage
from connections.providers.contract import Abilities, EventReader
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.parameters import ParameterTable
from connections.providers.prompt_formats import Rendered
from connections.providers.shapes import ShapedReader, completion_reply, decoded, mapping
from connections.providers.wire import count

NOT_TOLD = Usage()
PICTURE = "data:image/"
"""How what is to be embedded begins where it is a picture."""
METRICS = "amazon-bedrock-invocationMetrics"
"""What Bedrock adds to the last chunk of any family's stream."""


class Family:
    """The bodies of one family of models. Immutable and safe to share."""

    name: ClassVar[str]
    mode: ClassVar[Mode]
    parameters: ClassVar[ParameterTable]
    can: ClassVar[Abilities] = Abilities(choices=1, inputs=1, prompts=1, image_urls=False)

    def parameters_for(self, target: Target) -> ParameterTable:
        """The table for one model of the family."""
        return self.parameters

    def abilities(self, target: Target) -> Abilities:
        return self.can

    def prompt(self, call: Call) -> Rendered:
        """What a model without chat gets for the messages of a chat call."""
        return prompt_formats.render(call)

    def body(self, call: Call) -> JSON:
        """What is sent: without the model's name, and without a wish to stream unless the family has one of its own."""
        raise NotImplementedError

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        """Read a whole answer. `told`: the usage that came beside the body; counts for what the body does not tell."""
        raise NotImplementedError

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        """Reads the stream's chunks, each a frame of JSON without the host's wrapping."""
        raise NotImplementedError


def counted(own: Usage, told: Usage) -> Usage:
    """What the body tells; what it leaves out as it came beside."""
    asked = told if own.prompt_tokens is None else own
    answered = told if own.completion_tokens is None else own
    return structs.replace(
        own,
        prompt_tokens=asked.prompt_tokens,
        cached_tokens=asked.cached_tokens,
        cache_write_tokens=asked.cache_write_tokens,
        completion_tokens=answered.completion_tokens,
        reasoning_tokens=answered.reasoning_tokens,
        search_units=own.search_units or told.search_units,
        billed_prompt_tokens=_first(own.billed_prompt_tokens, told.billed_prompt_tokens),
        billed_completion_tokens=_first(own.billed_completion_tokens, told.billed_completion_tokens),
        suspect=own.suspect or told.suspect,
    )


def _first(own: int | None, told: int | None) -> int | None:
    return told if own is None else own


def metrics_of(chunk: Mapping[str, Any]) -> Usage:
    """The tokens that Bedrock tells at the end of a stream; it leaves what the cache did out of the input."""
    told = mapping(chunk.get(METRICS))
    read, written = told.get("cacheReadInputTokenCount"), told.get("cacheWriteInputTokenCount")
    counts = [count(told.get("inputTokenCount")), count(read), count(written)]
    given = counts[0][0]
    return wire.usage(
        None if given is None else given + sum(number or 0 for number, _ in counts[1:]),
        told.get("outputTokenCount"),
        cached=read,
        cache_write=written,
        suspect=any(mended for _, mended in counts),
    )


# --- families that continue a text ---------------------------------------------------------------------------


class Told(NamedTuple):
    """One text of an answer, or a piece of it; the reason for its end in the family's own word, if it ended."""

    text: str
    reason: Any = None
    place: int = 0
    """Which of the answers it belongs to."""


class TextFamily(Family):
    """A family that is given one text and continues it. Subclasses say where things stand."""

    mode = Mode.COMPLETION
    prompt_format: ClassVar[str] = "plain"
    """How a conversation is written down, unless the model's options say otherwise."""
    begin: ClassVar[str] = ""
    """What a prompt begins with, where the host does not add it."""
    reasons: ClassVar[Mapping[str, str]] = {}
    """What it calls the reasons for which a text ends, in OpenAI's words."""
    failures: ClassVar[Mapping[str, type[ProviderError]]] = {}
    """Reasons that mean that there is no answer."""

    def format_for(self, target: Target) -> str:
        return self.prompt_format

    def prompt(self, call: Call) -> Rendered:
        name = call.target.options.get("prompt_format") or self.format_for(call.target)
        target = structs.replace(call.target, options={"prompt_format": name})
        rendered = prompt_formats.render(structs.replace(call, target=target))
        return replace(rendered, text=self.begin + rendered.text.lstrip()) if self.begin else rendered

    def answers(self, content: Mapping[str, Any]) -> Iterable[Told]:
        """The texts of a whole answer."""
        raise NotImplementedError

    def pieces(self, chunk: Mapping[str, Any]) -> Iterable[Told]:
        """The pieces of text in one chunk of a stream."""
        return self.answers(chunk)

    def usage(self, content: Mapping[str, Any]) -> Usage:
        """The tokens that an answer or a chunk tells."""
        return NOT_TOLD

    def stops(self, call: Call) -> Sequence[str]:
        """The texts at which we end the answer ourselves, as the model cannot."""
        return ()

    def finish_of(self, reason: Any) -> str:
        """Raises what a reason amounts to that means that there is no answer."""
        word = reason if isinstance(reason, str) else ""
        if word in self.failures:
            raise ended(self.failures[word], word)
        return self.reasons.get(word, "stop")

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        content = decoded(body, secrets)
        found = [(told.text, told.reason) for told in self.answers(content)]
        if not found:
            raise refusal_in(content, body, secrets)
        stops = self.stops(call)
        ended = [(*cut(text, stops), reason) for text, reason in found]
        answers = [(text, "stop" if stopped else self.finish_of(reason)) for text, stopped, reason in ended]
        usage = counted(self.usage(content), told)
        return completion_reply(answers, usage, model=_said(content, "model"), name=_said(content, "id"))

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return TextReader(self, call, secrets)


def ended(kind: type[ProviderError], word: str) -> ProviderError:
    """The failure that a model's reason for its end amounts to."""
    return kind(problems.SENTENCES[kind], evidence=f"The model ended with {word}.")


def refusal_in(content: Mapping[str, Any], body: bytes, secrets: Sequence[str]) -> Exception:
    """An answer of 200 without what was asked for: a message instead, or nothing that we can read."""
    said = any(isinstance(content.get(name), str) and content[name] for name in ("message", "Message"))
    return problems.inside(content, secrets) if said else problems.unreadable(body, secrets)


def _said(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    return str(value)[:300] if isinstance(value, str | int) else ""


class TextReader(ShapedReader):
    """A stream of pieces of text."""

    mode = Mode.COMPLETION

    def __init__(self, family: TextFamily, call: Call, secrets: Sequence[str]) -> None:
        super().__init__(secrets, call.wants_usage)
        self._family = family
        self._stops = family.stops(call)
        self._scissors: dict[int, Scissors] = {}
        self._ended: set[int] = set()

    def feed(self, frame: Frame) -> Sequence[bytes]:
        chunk = mapping(wire.decode(wire.ANY, frame.data, self._secrets))
        if chunk.get("error") or chunk.get("err"):
            raise problems.inside({"error": chunk.get("err"), **chunk}, self._secrets)
        self.usage = counted(metrics_of(chunk), counted(self._family.usage(chunk), self.usage))
        self._name = self._name or _said(chunk, "id")
        self.model = self.model or _said(chunk, "model")
        return [made for told in self._family.pieces(chunk) for made in self._piece(told)]

    def _piece(self, told: Told) -> list[bytes]:
        if told.place in self._ended:
            return []
        scissors = self._scissors.setdefault(told.place, Scissors(self._stops))
        text = scissors.feed(told.text)
        if not told.reason and not scissors.stopped:
            return self._text(text, told.place)
        self._ended.add(told.place)
        finish = "stop" if scissors.stopped else self._family.finish_of(told.reason)
        return [*self._text(text + scissors.rest(), told.place), *self._finish(finish, told.place)]


# --- what is asked, and where texts stop ---------------------------------------------------------------------


def text_of(prompt: Any) -> str:
    """The one prompt of a request; more than one are several requests (`Abilities.prompts`)."""
    given = wire.plain(prompt)
    return str(given[0]) if isinstance(given, list) else str(given)


def text_in(message: Mapping[str, Any]) -> str:
    """The content of one message as one text, for models that know no other."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    if any(part.get("type") != "text" for part in content):
        raise RequestRefused("This model takes plain text only: no images.", status=400)
    return "\n".join(part["text"] for part in content)


def texts_of(call: Call) -> list[str]:
    """What is to be embedded, as texts."""
    given = wire.plain(call.body["input"])
    texts = [given] if isinstance(given, str) else given
    if not all(isinstance(text, str) for text in texts):
        raise RequestRefused("This model embeds texts, not numbers of tokens.", status=400)
    return list(texts)


def list_of(stop: Any) -> list[str]:
    """Stop sequences as a list, however they were given."""
    given = wire.plain(stop) or []
    return [given] if isinstance(given, str) else list(given)


def length_set(call: Call, given: JSON, name: str, default: int) -> None:
    """Where a family must be told a length: ours, if the caller gave none."""
    if given.get(name) is None:
        given[name] = min(default, call.target.max_output or default)
        call.adjusted.append(Adjustment("max_tokens", f"set to {given[name]}"))


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text up to the stop that is complete first, and whether there was one."""
    places = [(text.find(stop), stop) for stop in stops if stop]
    ends = [(place + len(stop), place) for place, stop in places if place >= 0]
    return (text[: min(ends)[1]], True) if ends else (text, False)


class Scissors:
    """Cuts a stream of text at the first stop; holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The text that can be let go."""
        if self.stopped:
            return ""
        whole, self.stopped = cut(self._held + text, self._stops)
        kept = 0 if self.stopped else max((_begun(whole, stop) for stop in self._stops), default=0)
        self._held = whole[len(whole) - kept :]
        return whole[: len(whole) - kept]

    def rest(self) -> str:
        """The stream is over: what was held back was no stop."""
        held, self._held = self._held, ""
        return held


def _begun(text: str, stop: str) -> int:
    """How many letters at the end of the text begin the stop."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
