"""The samples of a query template: recorded pairs that show what it makes of a call, and of an endpoint's answers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field, field_validator

from connections.providers import wire
from connections.providers.calls import Answer, Call, Frame, Framing, Mode, Target
from connections.providers.contract import EventReader
from connections.providers.errors import BadReply, ProviderError, RequestRefused
from connections.providers.framing import reader
from connections.providers.query_template_paths import PathProblem, kind_of, number_at
from connections.providers.query_template_shape import CONFIG, SAID, UNFIT, AnswerShape, QueryShape, Reading

MAX_SAMPLES = 50
MAX_SHOWN = 300
TELLS: Mapping[str, str] = {
    "text": "",
    "finish_reason": "finish",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "vectors": "",
}
"""What a sample may expect of an answer, and the path that it is read by."""
FRAMINGS: Mapping[str, Framing] = {"sse": Framing.SSE, "lines": Framing.NDJSON}
CONTENT: Mapping[str, Mode] = {"messages": Mode.CHAT, "prompt": Mode.COMPLETION, "input": Mode.EMBEDDING}
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
SECRETS: Sequence[str] = ()


class Sample(BaseModel):
    """One pair. What it holds depends on what it shows:

    `request`: a call as `/v1` takes it, and the exact JSON that is sent for it;
    `answer`, `stream`: what the endpoint said, and the text and numbers that it amounts to;
    `error`: an answer of status 200, and the message of the error in it.
    """

    model_config = CONFIG

    name: str = Field(min_length=1, max_length=80)
    kind: Literal["request", "answer", "stream", "error"]
    given: Any
    expected: Any

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("The name holds invisible or control characters.")
        return name


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sample fared."""

    sample: Sample
    problem: str = ""
    """What was expected and what came instead; empty: it passed."""


def outcomes(shape: QueryShape, samples: Iterable[Sample]) -> list[Outcome]:
    return [Outcome(sample, _problem(shape, sample)) for sample in samples]


def failures(shape: QueryShape, samples: Iterable[Sample]) -> list[str]:
    """A sentence for every sample that fails."""
    return [f"Sample “{one.sample.name}”: {one.problem}" for one in outcomes(shape, samples) if one.problem]


def _problem(shape: QueryShape, sample: Sample) -> str:
    check = {"request": _request_problem, "answer": _answer_problem, "stream": _stream_problem, "error": _error_problem}
    try:
        return check[sample.kind](shape, sample)
    except (PathProblem, _Unusable) as problem:
        return str(problem)
    except BadReply as error:
        return _misfit(error) if error.message == UNFIT else f"{error.message} {error.evidence}".strip()
    except ProviderError as error:
        return f"{error.message} {error.evidence}".strip()


class _Unusable(ValueError):
    """A sample does not say what it must."""


# --- what is sent ----------------------------------------------------------------------------------------


def _request_problem(shape: QueryShape, sample: Sample) -> str:
    sent = json.loads(wire.encode(shape.body(call_of(sample.given))))
    return difference(sample.expected, sent)


def call_of(given: Any) -> Call:
    """The call that a body for `/v1` amounts to."""
    if not isinstance(given, dict):
        raise _Unusable(f"A call is an object, such as {json.dumps(CHAT)}, not {kind_of(given)}.")
    mode = next((mode for name, mode in CONTENT.items() if name in given), None)
    if mode is None:
        raise _Unusable("A call has messages, a prompt or an input.")
    _check_content(given, mode)
    body = {name: value for name, value in given.items() if name not in {"model", "stream"}}
    target = Target(str(given.get("model") or "sample-model"), mode)
    return Call(mode, target, body, stream=given.get("stream") is True, request_id="sample-request")


def _check_content(given: Mapping[str, Any], mode: Mode) -> None:
    if mode is Mode.CHAT:
        messages = given["messages"]
        sound = isinstance(messages, list) and messages and all(map(_is_message, messages))
        if not sound:
            raise _Unusable(f"The messages of a call are written as {json.dumps(CHAT['messages'])}.")
    elif mode is Mode.COMPLETION and not isinstance(given["prompt"], str):
        raise _Unusable("The prompt of a sample is one text.")
    elif mode is Mode.EMBEDDING and not isinstance(given["input"], str | list):
        raise _Unusable("The input of a sample is a text or a list of texts.")


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and isinstance(message.get("role"), str) and _is_content(message.get("content"))


def _is_content(content: Any) -> bool:
    parts = content if isinstance(content, list) else []
    return content is None or isinstance(content, str) or all(isinstance(part, dict) for part in parts)


# --- what is understood ----------------------------------------------------------------------------------


def _answer_problem(shape: QueryShape, sample: Sample) -> str:
    vectors = isinstance(sample.expected, dict) and "vectors" in sample.expected
    call = _embedding(sample.expected["vectors"]) if vectors else call_of(CHAT)
    reply = shape.reply(call, Answer(200, {}, _bytes(sample.given)), SECRETS)
    content = json.loads(reply.body)
    told = {"finish_reason": reply.finish_reason, **_counts(reply.usage)}
    if vectors:
        told["vectors"] = [item["embedding"] for item in content["data"]]
    else:
        told["text"] = content["choices"][0]["message"]["content"]
    return _compared(sample, told, shape.answer)


def _embedding(vectors: Any) -> Call:
    return call_of({"input": ["Hello"] * (len(vectors) if isinstance(vectors, list) else 1)})


def _stream_problem(shape: QueryShape, sample: Sample) -> str:
    if shape.stream is None:
        raise _Unusable("The template says nothing about streams.")
    call = call_of({**CHAT, "stream": True})
    events = shape.events(call, SECRETS)
    chunks = [json.loads(chunk) for chunk in _read(events, shape.stream.framing, _bytes(sample.given))]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return _compared(
        sample, {"text": text, "finish_reason": events.finish_reason, **_counts(events.usage)}, shape.stream
    )


def _read(events: EventReader, framing: str, data: bytes) -> list[bytes]:
    if framing == "whole":
        frames = [Frame("", data)]
    else:
        frame_reader = reader(FRAMINGS[framing])
        frames = frame_reader.feed(data) + frame_reader.end()
    return [chunk for frame in frames for chunk in events.feed(frame)] + list(events.end())


def _counts(usage: Any) -> dict[str, Any]:
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}


def _compared(sample: Sample, told: Mapping[str, Any], reading: Reading) -> str:
    expected = {"text": sample.expected} if isinstance(sample.expected, str) else sample.expected
    if not isinstance(expected, dict) or not expected:
        raise _Unusable(f"Say what is expected: a text, or an object with some of {', '.join(TELLS)}.")
    if strange := set(expected) - set(TELLS):
        raise _Unusable(f"Nothing is known of {min(strange)!r}. A sample may expect {', '.join(TELLS)}.")
    return difference(expected, {name: told.get(name) for name in expected}) + _reason(sample, expected, told, reading)


def _reason(sample: Sample, expected: Mapping[str, Any], told: Mapping[str, Any], reading: Reading) -> str:
    """Why a number is missing, where its path tells."""
    for name in ("prompt_tokens", "completion_tokens"):
        path = getattr(reading, name)
        if expected.get(name) is not None and told.get(name) is None and isinstance(reading, AnswerShape):
            if not path:
                return f" There is no path to {name}."
            try:
                number_at(msgspec.json.decode(_bytes(sample.given)), path)
            except PathProblem as problem:
                return f" {problem}"
    return ""


def _error_problem(shape: QueryShape, sample: Sample) -> str:
    message = sample.expected.get("message") if isinstance(sample.expected, dict) else sample.expected
    if not isinstance(message, str) or not message:
        raise _Unusable("Say which message is expected, as a text.")
    try:
        shape.reply(call_of(CHAT), Answer(200, {}, _bytes(sample.given)), SECRETS)
    except BadReply as error:
        return f"Expected the error {_shown(message)}; it was not found. {_misfit(error)}"
    except RequestRefused as error:
        return difference(message, error.quote or error.evidence)
    except ProviderError as error:
        return difference(message, error.evidence)
    return f"Expected the error {_shown(message)}, but it was read as an answer."


def _misfit(error: BadReply) -> str:
    """Where the template does not fit, without the answer, which stands beside it."""
    return error.evidence.partition(SAID)[0]


def _bytes(given: Any) -> bytes:
    """What an endpoint said: a text as it is, anything else as JSON."""
    return given.encode(errors="replace") if isinstance(given, str) else wire.encode(given)


# --- comparing -------------------------------------------------------------------------------------------


def difference(expected: Any, got: Any, place: str = "") -> str:
    """The first place where two JSON values differ, in a sentence; empty: they are the same."""
    where = f" at {place}" if place else ""
    if isinstance(expected, dict) and isinstance(got, dict):
        for name in [*expected, *(name for name in got if name not in expected)]:
            inner = f"{place}.{name}" if place else name
            if name not in got:
                return f"Expected {_shown(expected[name])} at {inner}, got nothing there."
            if name not in expected:
                return f"Expected nothing at {inner}, got {_shown(got[name])}."
            if problem := difference(expected[name], got[name], inner):
                return problem
        return ""
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return next(filter(None, (difference(*pair, f"{place}[{at}]") for at, pair in pairs)), "")
    same = expected == got and isinstance(expected, bool) == isinstance(got, bool)
    return "" if same else f"Expected {_shown(expected)}{where}, got {_shown(got)}."


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
