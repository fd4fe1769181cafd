"""How a stream's bytes fall into frames. A reader takes any split of the bytes, even inside a character."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from connections.providers.calls import Frame, Framing
from connections.providers.errors import BadReply

MAX_EVENT = 1024 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class FrameReader(Protocol):
    """Collects one stream's bytes and gives out the frames that are whole."""

    def feed(self, data: bytes) -> list[Frame]: ...

    def end(self) -> list[Frame]:
        """The bytes are over: what is left may still be a frame."""


class SSE:
    """Server-sent events. An event without data says nothing and is left out, like comments, `id` and `retry`."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._after_return = False

    def feed(self, data: bytes) -> list[Frame]:
        if self._after_return or b"\r" in data:
            data = self._with_plain_newlines(data)
        pending = self._pending
        searched = max(len(pending) - 1, 0)
        pending += data
        end = pending.rfind(b"\n\n", searched)
        if end < 0:
            _check_size(len(pending))
            return []
        blocks = bytes(pending[:end]).split(b"\n\n")
        del pending[: end + 2]
        return _frames(blocks)

    def end(self) -> list[Frame]:
        """Servers that forget the blank line after their last event are read too."""
        block = bytes(self._pending)
        self._pending.clear()
        return _frames([block])

    def _with_plain_newlines(self, data: bytes) -> bytes:
        """Lines may end in CRLF, LF or CR; a CRLF may be cut in the middle."""
        if self._after_return:
            data = data.removeprefix(b"\n")
        self._after_return = data.endswith(b"\r") or (self._after_return and not data)
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class Delimited:
    """JSON texts, each ended by one byte; empty ones say nothing."""

    def __init__(self, delimiter: bytes) -> None:
        self._delimiter = delimiter
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        end = data.rfind(self._delimiter)
        if end < 0:
            self._pending += data
            _check_size(len(self._pending))
            return []
        texts = (bytes(self._pending) + data[:end]).split(self._delimiter)
        self._pending = bytearray(data[end + 1 :])
        return self._frames(texts)

    def end(self) -> list[Frame]:
        """The last one may lack its end."""
        text = bytes(self._pending)
        self._pending.clear()
        return self._frames([text])

    @staticmethod
    def _frames(texts: list[bytes]) -> list[Frame]:
        found = [Frame("", text.strip()) for text in texts if text.strip()]
        for frame in found:
            _check_size(len(frame.data))
        return found


def reader(framing: Framing) -> FrameReader:
    return _READERS[framing]()


def _frames(blocks: list[bytes]) -> list[Frame]:
    found = []
    for block in blocks:
        plain = block.startswith(b"data: ") and b"\n" not in block
        frame = Frame("", block[6:]) if plain else _frame(block)
        if frame.data:
            _check_size(len(frame.data))
            found.append(frame)
    return found


def _frame(block: bytes) -> Frame:
    """The general case: several lines, an event's name, comments, no space after the colon."""
    event, data = b"", []
    for line in block.removeprefix(BYTE_ORDER_MARK).split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            event = value.removeprefix(b" ")
    return Frame(event.decode(errors="replace"), b"\n".join(data))


def _check_size(size: int) -> None:
    if size > MAX_EVENT:
        raise BadReply("The provider sent a stream event of more than 1 MiB.")


_READERS: Mapping[Framing, Callable[[], FrameReader]] = {
    Framing.SSE: SSE,
    Framing.NDJSON: partial(Delimited, b"\n"),
    Framing.NUL: partial(Delimited, b"\0"),
}
