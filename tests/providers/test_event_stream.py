"""AWS's binary stream messages, with botocore's own reader as the judge of what they say."""

import struct

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from connections.providers.calls import Frame, Framing
from connections.providers.errors import BadReply
from connections.providers.framing import MAX_EVENT, reader
from tests.upstream.eventstream import event, exception, message

STREAM = (
    event("messageStart", b'{"role":"assistant"}')
    + event("contentBlockDelta", '{"delta":{"text":"Grüße 🐟"}}'.encode())
    + message(b"", message_type="event", event_type="empty")
    + exception("throttlingException", b'{"message":"Slow down"}')
    + message(b"", message_type="error", error_code="500", error_message="Kaputt ü")
)
FRAMES = [
    Frame("messageStart", b'{"role":"assistant"}'),
    Frame("contentBlockDelta", '{"delta":{"text":"Grüße 🐟"}}'.encode()),
    Frame("empty", b""),
    Frame("exception:throttlingException", b'{"message":"Slow down"}'),
    Frame("error:500", "Kaputt ü".encode()),
]
EVERY_TYPE = {
    "yes": b"\x00",
    "no": b"\x01",
    "byte": b"\x02\x07",
    "short": b"\x03\x00\x07",
    "int": b"\x04\x00\x00\x00\x07",
    "long": b"\x05\x00\x00\x00\x00\x00\x00\x00\x07",
    "bytes": b"\x06\x00\x03abc",
    "time": b"\x08\x00\x00\x00\x00\x00\x00\x00\x07",
    "uuid": b"\x09" + b"0123456789abcdef",
}


def read(pieces: list[bytes]) -> list[Frame]:
    frames = reader(Framing.EVENT_STREAM)
    return [frame for piece in pieces for frame in frames.feed(piece)] + frames.end()


def test_every_split_gives_the_same_frames():
    for at in range(len(STREAM) + 1):
        assert read([STREAM[:at], STREAM[at:]]) == FRAMES
    assert read([STREAM[at : at + 1] for at in range(len(STREAM))]) == FRAMES


def test_it_reads_what_the_official_library_reads():
    judge = EventStreamBuffer()
    judge.add_data(STREAM)

    told = [(one.headers[":message-type"], one.headers, one.payload) for one in judge]

    assert [frame.data for frame in FRAMES[:4]] == [payload for _, _, payload in told[:4]]
    assert [headers[":event-type"] for kind, headers, _ in told if kind == "event"] == [
        "messageStart",
        "contentBlockDelta",
        "empty",
    ]
    assert told[3][1][":exception-type"] == "throttlingException"
    assert told[4][1][":error-message"] == "Kaputt ü"


def test_headers_of_every_type_are_passed_over():
    whole = message(b"{}", **EVERY_TYPE, event_type="chunk", message_type="event")
    judge = EventStreamBuffer()
    judge.add_data(whole)

    assert next(judge).headers[":event-type"] == "chunk"
    assert read([whole]) == [Frame("chunk", b"{}")]


def test_a_message_is_given_out_as_soon_as_it_is_whole():
    frames = reader(Framing.EVENT_STREAM)

    assert frames.feed(event("a", b"1") + event("b", b"2")[:-1]) == [Frame("a", b"1")]
    assert frames.feed(event("b", b"2")[-1:]) == [Frame("b", b"2")]


def test_what_came_before_a_damaged_message_is_given_out():
    frames = reader(Framing.EVENT_STREAM)

    assert frames.feed(event("a", b"1") + b"\x00" * 20) == [Frame("a", b"1")]
    with pytest.raises(BadReply):
        frames.end()


def test_a_changed_byte_anywhere_is_noticed():
    whole = event("chunk", b'{"bytes":"QUJD"}')
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 1
        with pytest.raises(BadReply):
            read([bytes(broken)])


@pytest.mark.parametrize(
    "headers",
    [
        {"event_type": b"\x0a"},
        {"event_type": b"\x07\xff\xffx"},
        {"event_type": b"\x07\x00\x02\xff\xfe"},
        {"event_type": b"\x05\x00"},
        {"event_type": b""},
    ],
)
def test_headers_that_cannot_be_read_are_a_bad_reply(headers):
    with pytest.raises(BadReply, match="headers"):
        read([message(b"{}", **headers)])


def test_lengths_that_make_no_sense_are_refused_at_once():
    from zlib import crc32

    for size, headers in (
        (15, 0),
        (0, 0),
        (40, 30),
        (MAX_EVENT + 17, 0),
        (MAX_EVENT, 2**17 + 1),
        (2**32 - 1, 2**32 - 1),
    ):
        head = struct.pack(">II", size, headers)
        with pytest.raises(BadReply):
            read([head + struct.pack(">I", crc32(head))])


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_no_bytes_break_the_reader(pieces):
    try:
        assert read(pieces) == read([b"".join(pieces)])
    except BadReply:
        with pytest.raises(BadReply):
            read([b"".join(pieces)])
