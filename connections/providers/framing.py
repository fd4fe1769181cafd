"""How a stream's bytes fall into frames. A reader takes any split of the bytes, even inside a character."""

from collections.abc import Callable, Mapping
from functools import partial
from struct import error as StructError  # noqa: N812 - it is a class
from struct import unpack_from
from typing import Protocol
from zlib import crc32

from connections.providers.calls import Frame, Framing
from connections.providers.errors import BadReply

MAX_EVENT = 1024 * 1024
MAX_HEADERS = 128 * 1024
PRELUDE = 12
"""Bytes before a binary message's headers: its length, theirs, a checksum."""
VALUES: Mapping[int, int] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value, by its type; those of the other two tell their length."""
TEXT = 7
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class FrameReader(Protocol):
    """Collects one stream's bytes and gives out the frames that are whole."""

    def feed(self, data: bytes) -> list[Frame]: ...

    def end(self) -> list[Frame]:
        """The bytes are over: what is left may still be a frame."""


class SSE:
    """Server-sent events. One without data says nothing and is left out, like comments, `id` and `retry`.

    `named`: unless it has a name.
    """

    def __init__(self, named: bool = False) -> None:
        self._named = named
        self._pending = bytearray()
        self._after_return = False

    def feed(self, data: bytes) -> list[Frame]:
        if self._after_return or b"\r" in data:
            data = self._with_plain_newlines(data)
        pending = self._pending
        if not pending and data.endswith(b"\n\n"):  # as most reads are
            return _frames(data[:-2].split(b"\n\n"), self._named)
        searched = max(len(pending) - 1, 0)
        pending += data
        end = pending.rfind(b"\n\n", searched)
        if end < 0:
            _check_size(len(pending))
            return []
        blocks = bytes(pending[:end]).split(b"\n\n")
        del pending[: end + 2]
        return _frames(blocks, self._named)

    def end(self) -> list[Frame]:
        """Servers that forget the blank line after their last event are read too."""
        block = bytes(self._pending)
        self._pending.clear()
        return _frames([block], self._named)

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


class EventStream:
    """AWS's binary messages: lengths, headers, payload, and a checksum over each. An event's name is its type.

    Exceptions are called `exception:<type>`; errors, which have no payload, `error:<code>` with their words.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """A damaged message is told with the next call where sound ones came before it."""
        self._pending += data
        found: list[Frame] = []
        try:
            while (size := self._next_size()) and len(self._pending) >= size:
                found.append(_message(bytes(self._pending[:size])))
                del self._pending[:size]
        except BadReply:
            if not found:
                raise
        return found

    def end(self) -> list[Frame]:
        """Half a message says nothing: whether the stream may end here is its reader's matter."""
        found = self.feed(b"")
        self._pending.clear()
        return found

    def _next_size(self) -> int:
        """Bytes of the next message; 0: not known yet. What is announced is believed only with its checksum."""
        if len(self._pending) < PRELUDE:
            return 0
        size, headers, checksum = unpack_from(">III", self._pending)
        if crc32(self._pending[:8]) != checksum:
            raise BadReply("The provider sent a stream message with a wrong checksum.")
        payload = size - PRELUDE - headers - 4
        if payload < 0 or headers > MAX_HEADERS:
            raise BadReply("The provider sent a stream message with a wrong length.")
        _check_size(payload)
        return int(size)


def _message(message: bytes) -> Frame:
    (checksum,) = unpack_from(">I", message, len(message) - 4)
    if crc32(message[:-4]) != checksum:
        raise BadReply("The provider sent a stream message with a wrong checksum.")
    (length,) = unpack_from(">I", message, 4)
    headers = _headers(message[PRELUDE : PRELUDE + length])
    payload = message[PRELUDE + length : -4]
    match headers.get(":message-type"):
        case "exception":
            return Frame(f"exception:{headers.get(':exception-type', '')}", payload)
        case "error":
            return Frame(f"error:{headers.get(':error-code', '')}", headers.get(":error-message", "").encode())
    return Frame(headers.get(":event-type", ""), payload)


def _headers(data: bytes) -> dict[str, str]:
    """The headers that are texts; all others are passed over."""
    found, at = {}, 0
    try:
        while at < len(data):
            name = data[at + 1 : at + 1 + data[at]].decode()
            at += 1 + data[at]
            kind, at = data[at], at + 1
            size = VALUES.get(kind)
            if size is None:
                size, at = unpack_from(">H", data, at)[0], at + 2
            if kind == TEXT:
                found[name] = data[at : at + size].decode()
            at += size
    except (IndexError, ValueError, StructError) as error:
        raise BadReply("The provider sent a stream message with headers that cannot be read.") from error
    if at != len(data):
        raise BadReply("The provider sent a stream message with headers that cannot be read.")
    return found


def reader(framing: Framing) -> FrameReader:
    return _READERS[framing]()


def _frames(blocks: list[bytes], named: bool) -> list[Frame]:
    found = []
    for block in blocks:
        plain = block.startswith(b"data: ") and b"\n" not in block
        frame = Frame("", block[6:]) if plain else _frame(block)
        if frame.data or (named and frame.event):
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
    Framing.SSE_NAMED: partial(SSE, named=True),
    Framing.NDJSON: partial(Delimited, b"\n"),
    Framing.NUL: partial(Delimited, b"\0"),
    Framing.EVENT_STREAM: EventStream,
}
