"""Compressed answers, unpacked in bounded steps: a small body can stand for gigabytes."""

import zlib

from connections.providers.errors import BadReply

STEP = 256 * 1024
"""Most bytes that one step gives out."""

_PLAIN = frozenset({"", "identity"})
_GZIP, _ZLIB, _RAW = 31, 15, -15


class Inflater:
    """Unpacks gzip or deflate: `put` bytes in, `take` what they hold step by step."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding in ("gzip", "x-gzip")
        if not self._gzip and encoding != "deflate":
            raise BadReply("The provider's answer is compressed in a way nobody asked for.")
        self._stream: zlib._Decompress | None = None
        self._waiting = b""
        self._more = False
        """The last step stopped at its limit, so there may be more without further input."""

    def put(self, data: bytes) -> None:
        if self._stream is None:
            self._stream = zlib.decompressobj(_GZIP if self._gzip else _deflate_kind(data))
        self._waiting += data

    def take(self) -> bytes:
        """Up to STEP bytes; empty: more input is needed."""
        if self._stream is None or not (self._waiting or self._more):
            return b""
        if self._stream.eof and self._waiting:
            raise BadReply("The provider's compressed answer goes on after its end.")
        try:
            piece = self._stream.decompress(self._waiting, STEP)
        except zlib.error:
            raise BadReply("The provider's answer is not compressed as it says.") from None
        self._waiting = self._stream.unconsumed_tail or self._stream.unused_data
        self._more = len(piece) == STEP
        return piece

    def finish(self) -> None:
        """The input is over: it must have been whole."""
        if self._stream is not None and not self._stream.eof:
            raise BadReply("The provider's compressed answer ends too early.")


def inflater(encoding: str) -> Inflater | None:
    """What unpacks this Content-Encoding; None: there is nothing to unpack."""
    encoding = encoding.strip().lower()
    return None if encoding in _PLAIN else Inflater(encoding)


def _deflate_kind(data: bytes) -> int:
    """`deflate` ought to have a zlib header, but some servers leave it out."""
    return _ZLIB if data[0] & 0x0F == 8 else _RAW
