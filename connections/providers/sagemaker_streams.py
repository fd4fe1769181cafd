"""SageMaker's response streams: parts of the container's bytes, cut anywhere, inside AWS's binary messages."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from connections.providers import sagemaker_problems
from connections.providers.calls import Frame, Framing, Usage
from connections.providers.contract import EventReader
from connections.providers.errors import BadReply
from connections.providers.framing import FrameReader, reader

PART = "PayloadPart"
MAX_WHOLE = 16 * 1024 * 1024
Turn = Callable[[bytes], bytes]
"""What makes a chunk one of the mode that was asked for."""
FRAMINGS: Mapping[str, Framing] = {"sse": Framing.SSE, "lines": Framing.NDJSON}


class PartReader:
    """Joins the parts and lets the shape's own reader read what they amount to."""

    def __init__(self, inner: EventReader, framing: str, turned: Turn, secrets: Sequence[str]) -> None:
        self._inner, self._turned, self._secrets = inner, turned, secrets
        self._frames: FrameReader = reader(FRAMINGS[framing]) if framing in FRAMINGS else _Whole()
        self._learn()

    def feed(self, frame: Frame) -> Iterable[bytes]:
        if frame.event.startswith(("exception:", "error:")):
            raise sagemaker_problems.in_stream(frame, self._secrets)
        yield from self._read(self._frames.feed(frame.data) if frame.event == PART else [])

    def end(self) -> Iterable[bytes]:
        yield from self._read(self._frames.end())
        yield from map(self._turned, self._inner.end())
        self._learn()

    def _read(self, frames: Iterable[Frame]) -> Iterable[bytes]:
        try:
            for frame in frames:
                yield from map(self._turned, self._inner.feed(frame))
        finally:
            self._learn()

    def _learn(self) -> None:
        self.usage: Usage = self._inner.usage
        self.finish_reason: str = self._inner.finish_reason
        self.model: str = self._inner.model


class _Whole:
    """One answer in pieces."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        self._pending += data
        if len(self._pending) > MAX_WHOLE:
            raise BadReply("The endpoint streamed an answer of more than 16 MiB.")
        return []

    def end(self) -> list[Frame]:
        return [Frame("", bytes(self._pending))]
