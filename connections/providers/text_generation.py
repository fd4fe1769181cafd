"""`/generate` and `/generate_stream` of Text Generation Inference, which LoRAX (Predibase) speaks too.

A prompt in, a text out. The server refuses a temperature of 0, a `top_p` of 1 and other values that mean "off",
answers with twenty tokens if it is not told how many, and leaves the stop sequence in its text.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from connections.providers import problems, wire
from connections.providers.calls import JSON, Adjustment, Answer, Call, Frame, Reply, Usage
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.openai_replies import FINISH_REASONS
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.streams import StreamReader

MAX_TOKENS = 512
"""Asked for where the caller leaves it open and the model's most is not known."""
TABLE = ParameterTable.of(
    *("temperature", "stop", "frequency_penalty", "top_k", "repetition_penalty", "adapter_id", "grammar"),
    *("do_sample", "truncate", "typical_p", "watermark", "top_n_tokens"),
    max_tokens=Rule("max_new_tokens"),
    top_p=Rule(minimum=0.01),
    seed=Rule(minimum=0),
    echo=Rule("return_full_text"),
)
OFF: Mapping[str, float] = {"top_p": 1, "top_k": 0, "repetition_penalty": 0, "frequency_penalty": 0}
"""Values that mean "not used" and that the server refuses."""
STATUS_OF: Mapping[str, int] = {
    "generation": 500,
    "incomplete_generation": 500,
    "overloaded": 503,
    "unhealthy": 503,
    "backend": 500,
    "validation": 422,
    "tokenizer": 422,
}
"""The status that fits each `error_type`; the server's own are unusual, and errors inside streams have none."""
TOO_LONG = ("must be <=", "must have less than")


# --- requests --------------------------------------------------------------------------------------------


def body(call: Call, table: ParameterTable = TABLE) -> JSON:
    """The body of either route."""
    given = table.apply(call)
    inputs = text_of(given.pop("prompt"))
    parameters = {name: value for name, value in given.items() if not _is_off(call, name, value)}
    if isinstance(stop := wire.plain(parameters.get("stop")), str):
        parameters["stop"] = [stop]
    if "temperature" in parameters:
        _sample(call, parameters)
    if "max_new_tokens" not in parameters:
        parameters["max_new_tokens"] = call.target.max_output or MAX_TOKENS
        call.adjusted.append(Adjustment("max_tokens", f"set to {parameters['max_new_tokens']}"))
    return {"inputs": inputs, "parameters": {**parameters, "details": True}}


def text_of(prompt: Any) -> str:
    """The one text of a prompt."""
    plain = wire.plain(prompt)
    if isinstance(plain, list) and len(plain) == 1:
        plain = plain[0]
    if not isinstance(plain, str):
        raise RequestRefused("This model takes one prompt as plain text: no token numbers.")
    return plain


def _is_off(call: Call, name: str, value: Any) -> bool:
    off = name in OFF and value == OFF[name]
    if off:
        call.adjusted.append(Adjustment(name, "left out: this value means that it is off"))
    return off


def _sample(call: Call, parameters: JSON) -> None:
    """A temperature of 0 is greedy choice, which is a switch of its own."""
    if parameters["temperature"] > 0:
        parameters.setdefault("do_sample", True)
    else:
        del parameters["temperature"]
        parameters["do_sample"] = False
        call.adjusted.append(Adjustment("temperature", "sent as do_sample false"))


# --- answers ---------------------------------------------------------------------------------------------


class _Details(msgspec.Struct):
    finish_reason: str = ""
    generated_tokens: Any = None
    input_length: Any = None
    prompt_tokens: Any = None
    prefill: list[Any] | None = None


class _Whole(msgspec.Struct):
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None


class _Token(msgspec.Struct):
    text: str = ""
    special: bool = False


class _Frame(msgspec.Struct):
    token: _Token | None = None
    details: _Details | None = None
    error: Any = None


_WHOLE = msgspec.json.Decoder(_Whole | list[_Whole])
_FRAME = msgspec.json.Decoder(_Frame)


def reply(call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
    """A whole answer; older servers put it into a list."""
    found = wire.decode(_WHOLE, answer.body, secrets)
    whole = (found[0] if found else _Whole()) if isinstance(found, list) else found
    if whole.error:
        raise inside(answer.body, secrets)
    if whole.generated_text is None:
        raise problems.unreadable(answer.body, secrets)
    details = whole.details or _Details()
    finish, text = FINISH_REASONS.get(details.finish_reason, details.finish_reason) or "stop", whole.generated_text
    for stop in stops_of(call):
        text = text.removesuffix(stop)
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    content = {"object": "text_completion", "model": call.target.upstream_id, "choices": [choice]}
    usage = usage_of(details, answer.headers)
    told = {} if usage.completion_tokens is None else {"usage": usage.as_openai()}
    return Reply(wire.encode({**content, **told}), usage, finish, call.target.upstream_id)


def usage_of(details: _Details, headers: Mapping[str, str]) -> Usage:
    """A whole answer tells the prompt's tokens in a header only."""
    prompt = details.input_length if details.prompt_tokens is None else details.prompt_tokens
    if prompt is None and details.prefill:
        prompt = len(details.prefill)
    if prompt is None and headers.get("x-prompt-tokens", "").isdecimal():
        prompt = int(headers["x-prompt-tokens"])
    return wire.usage(prompt, details.generated_tokens)


def stops_of(call: Call) -> Sequence[str]:
    stop = wire.plain(call.body.get("stop")) or []
    return [stop] if isinstance(stop, str) else stop


class Chunks(StreamReader):
    """Tokens as completion chunks. What may be the beginning of a stop sequence waits until it is clear."""

    def __init__(self, call: Call, secrets: Sequence[str]) -> None:
        super().__init__(secrets, call.wants_usage)
        self.model = call.target.upstream_id
        self._stops = stops_of(call)
        self._held = ""

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done or frame.data == b"[DONE]":
            return ()
        part = wire.decode(_FRAME, frame.data, self._secrets)
        if part.error:
            raise inside(frame.data, self._secrets)
        if part.token and not part.token.special:
            self._heard = True
            self._held += part.token.text
        if part.details is not None:
            return list(self._last(part.details))
        ready = self._ready()
        return (self._chunk(ready, None),) if ready else ()

    def _ready(self) -> str:
        """What of the held text cannot belong to a stop sequence any more."""
        longest = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - longest
        ready, self._held = self._held[:cut], self._held[cut:]
        return ready

    def _last(self, details: _Details) -> Iterable[bytes]:
        self._done = self._heard = True
        self.usage = usage_of(details, {})
        self.finish_reason = FINISH_REASONS.get(details.finish_reason, details.finish_reason) or "stop"
        for stop in self._stops:
            self._held = self._held.removesuffix(stop)
        if self._held:
            yield self._chunk(self._held, None)
        yield self._chunk("", self.finish_reason)
        if self._wants_usage:
            yield wire.encode({**self._head, "choices": [], "usage": self.usage.as_openai()})

    @property
    def _head(self) -> JSON:
        return {"object": "text_completion", "model": self.model}

    def _chunk(self, text: str, finish: str | None) -> bytes:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return wire.encode({**self._head, "choices": [choice]})

    def end(self) -> Iterable[bytes]:
        self._check_end()
        return ()


def _overlap(text: str, stop: str) -> int:
    """How much of the end of `text` is the beginning, or the whole, of `stop`."""
    most = min(len(text), len(stop))
    return next((size for size in range(most, 0, -1) if text.endswith(stop[:size])), 0)


# --- errors ----------------------------------------------------------------------------------------------


def problem(answer: Answer, secrets: Sequence[str]) -> ProviderError:
    """What an answer of 300 or more amounts to, its `error_type` before its status."""
    status, body = _typed(answer.body) or (answer.status, answer.body)
    error = problems.named(Answer(status, answer.headers, body), secrets)
    error.status = answer.status
    if error.retryable and error.retry_after is None:
        error.retry_after = _loading_time(answer.body)
    return error


def inside(data: bytes, secrets: Sequence[str]) -> ProviderError:
    """What an error amounts to that came with HTTP 200."""
    status, content = _typed(data) or (500, data)
    error = problems.named(Answer(status, {}, content), secrets)
    error.status = None
    return error


def _loading_time(data: bytes) -> float | None:
    """How long a model that is still being loaded will take."""
    seconds = wire.fields(data).get("estimated_time")
    return float(seconds) if isinstance(seconds, int | float) and 0 <= seconds <= problems.MAX_RETRY_AFTER else None


def _typed(data: bytes) -> tuple[int, bytes] | None:
    """The status that fits an error's type, and its words; a prompt that does not fit is told in words only."""
    content = wire.fields(data)
    kind = content.get("error_type")
    status = STATUS_OF.get(kind.lower()) if isinstance(kind, str) else None
    if status is None:
        return None
    code = "context_length_exceeded" if any(words in str(content.get("error")) for words in TOO_LONG) else None
    return status, wire.encode({"error": {"message": str(content.get("error") or ""), "code": code}})


def says_error(data: bytes) -> bool:
    return bool(wire.fields(data).get("error"))
