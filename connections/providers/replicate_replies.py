"""Predictions of Replicate, and the plain text that its streams bring."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from connections.providers import images, problems, wire
from connections.providers.calls import JSON, Call, Frame, Mode, Reply, Usage
from connections.providers.errors import ContentFiltered, ProviderError
from connections.providers.images import Picture
from connections.providers.scrubbing import scrub
from connections.providers.streams import StreamReader

RUNNING = frozenset({"starting", "processing"})
FILTERED = re.compile(r"nsfw|flagged|sensitive|safety", re.IGNORECASE)


class Prediction(msgspec.Struct):
    id: str
    status: str
    output: Any = None
    error: Any = None
    model: Any = None
    metrics: Any = None
    urls: Any = None


_PREDICTION = msgspec.json.Decoder(Prediction)


def prediction(body: bytes, secrets: Sequence[str]) -> Prediction:
    found = wire.decode(_PREDICTION, body, secrets)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", found.id):
        raise problems.unreadable(body, secrets)
    return found


def reply(call: Call, body: bytes, secrets: Sequence[str]) -> Reply:
    """What a prediction that is over amounts to."""
    found = prediction(body, secrets)
    if found.status != "succeeded":
        raise _failure(found, secrets)
    pieces = found.output if isinstance(found.output, list) else [found.output]
    if not pieces or not all(isinstance(piece, str) for piece in pieces):
        raise problems.unreadable(body, secrets)
    model = str(found.model or call.target.upstream_id)[:300]
    usage = _usage(found.metrics)
    if call.mode is Mode.IMAGE:
        return images.reply_of([_picture(piece) for piece in pieces], usage, model)
    return _text_reply(call, "".join(pieces), usage, model)


def _text_reply(call: Call, text: str, usage: Usage, model: str) -> Reply:
    choice: JSON = {"index": 0, "finish_reason": "stop"}
    if call.mode is Mode.CHAT:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice |= {"text": text, "logprobs": None}
    kind = "chat.completion" if call.mode is Mode.CHAT else "text_completion"
    told = {} if usage.completion_tokens is None else {"usage": usage.as_openai()}
    return Reply(wire.encode({"object": kind, "model": model, "choices": [choice], **told}), usage, "stop", model)


def _usage(metrics: Any) -> Usage:
    """Tokens where the model counts them; otherwise the time on the machine is what is billed."""
    told = metrics if isinstance(metrics, dict) else {}
    usage = wire.usage(told.get("input_token_count"), told.get("output_token_count"))
    seconds = told.get("predict_time")
    if usage.completion_tokens is None and isinstance(seconds, int | float) and 0 <= seconds < 1_000_000:
        return structs.replace(usage, seconds=float(seconds))
    return usage


def _picture(place: str) -> Picture:
    head, comma, data = place.partition(",")
    return Picture(base64=data) if comma and head.startswith("data:") else Picture(url=place)


def _failure(found: Prediction, secrets: Sequence[str]) -> ProviderError:
    said = found.error if isinstance(found.error, str) and found.error else f"The prediction ended as {found.status}."
    if FILTERED.search(said):
        return ContentFiltered(problems.SENTENCES[ContentFiltered], evidence=scrub(said, secrets))
    return problems.inside({"error": {"message": said}}, secrets)


class Text(StreamReader):
    """The pieces of a stream are plain text, spaces and all; the usage is not told."""

    def __init__(self, call: Call, secrets: Sequence[str]) -> None:
        super().__init__(secrets, call.wants_usage)
        self.model = call.target.upstream_id
        self._chat = call.mode is Mode.CHAT

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done:
            return ()
        if frame.event == "output":
            self._heard = True
            return (self._chunk(self._decoded(frame.data), None),)
        if frame.event == "error":
            raise self._failed(frame.data)
        if frame.event == "done":
            self._end_by(wire.decode(wire.ANY, frame.data, self._secrets))
            return (self._chunk("", "stop"),)
        return ()

    def _end_by(self, told: Any) -> None:
        reason = told.get("reason") if isinstance(told, dict) else None
        if reason:
            raise problems.inside({"error": {"message": f"The prediction ended early: {reason}."}}, self._secrets)
        self._done, self.finish_reason = True, "stop"

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise problems.unreadable(data, self._secrets) from error

    def _failed(self, data: bytes) -> ProviderError:
        said = wire.fields(data).get("detail") or data.decode(errors="replace")
        return problems.inside({"error": {"message": str(said or "The prediction failed.")}}, self._secrets)

    def _chunk(self, text: str, finish: str | None) -> bytes:
        choice: JSON = {"index": 0, "finish_reason": finish}
        if self._chat:
            choice["delta"] = {"content": text} if text else {}
        else:
            choice["text"] = text
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return wire.encode({"object": kind, "model": self.model, "choices": [choice]})

    def end(self) -> Sequence[bytes]:
        self._check_end()
        return ()
