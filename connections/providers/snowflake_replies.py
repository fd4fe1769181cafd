"""What Snowflake Cortex answers where its newer route differs from OpenAI's."""

from collections.abc import Sequence
from typing import Any

import msgspec

from connections.providers import problems, wire
from connections.providers.calls import Frame, Reply
from connections.providers.openai_replies import ChunkReader


class _Item(msgspec.Struct):
    embedding: list[Any]


class _Vectors(msgspec.Struct):
    data: list[_Item] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None
    error_code: Any = None


_VECTORS = msgspec.json.Decoder(_Vectors)


def vectors(body: bytes, secrets: Sequence[str]) -> Reply:
    """Each vector lies one list deeper than elsewhere."""
    whole = wire.decode(_VECTORS, body, secrets)
    if whole.error or whole.error_code:
        raise problems.inside(wire.decode(wire.ANY, body, secrets), secrets)
    if not whole.data or not all(item.embedding for item in whole.data):
        raise problems.unreadable(body, secrets)
    vectors = [item.embedding[0] if isinstance(item.embedding[0], list) else item.embedding for item in whole.data]
    told = whole.usage if isinstance(whole.usage, dict) else {}
    usage, model = wire.usage(told.get("total_tokens"), 0), str(whole.model or "")[:300]
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    answer = {"object": "list", "data": data, "model": model, "usage": usage.as_openai()}
    return Reply(wire.encode(answer), usage, model=model)


class FinishingReader(ChunkReader):
    """Models that are not OpenAI's never say why they stop: `[DONE]` has to do."""

    _calls = False

    def feed(self, frame: Frame) -> Sequence[bytes]:
        return [self._completed(chunk) for chunk in super().feed(frame)]

    def _completed(self, chunk: bytes) -> bytes:
        if b'"finish_reason"' in chunk:
            return chunk
        content: dict[str, Any] = msgspec.json.decode(chunk)
        for choice in content.get("choices") or ():
            choice["finish_reason"] = None
            delta = choice.get("delta")
            self._calls = self._calls or (isinstance(delta, dict) and bool(delta.get("tool_calls")))
        return wire.encode(content)

    def end(self) -> Sequence[bytes]:
        self._check_end()
        if self.finish_reason:
            return ()
        self.finish_reason = "tool_calls" if self._calls else "stop"
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": self.finish_reason}
        return [wire.encode({"object": "chat.completion.chunk", "choices": [choice]})]
