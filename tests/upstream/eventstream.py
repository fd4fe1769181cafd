"""Writes AWS's binary stream messages."""

import struct
import zlib


def message(payload: bytes, **headers: str) -> bytes:
    """`message(b"{}", message_type="event", event_type="chunk")`; a header that is no text: `number=b"..."` raw."""
    named = {f":{name.replace('_', '-')}": value for name, value in headers.items()}
    block = b"".join(_header(name, value) for name, value in named.items())
    head = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    head += struct.pack(">I", zlib.crc32(head))
    whole = head + block + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def event(kind: str, payload: bytes) -> bytes:
    return message(payload, message_type="event", event_type=kind, content_type="application/json")


def exception(kind: str, payload: bytes) -> bytes:
    return message(payload, message_type="exception", exception_type=kind, content_type="application/json")


def _header(name: str, value: str | bytes) -> bytes:
    start = bytes([len(name)]) + name.encode()
    if isinstance(value, bytes):
        return start + value
    return start + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
