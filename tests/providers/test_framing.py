"""Server-sent events survive any split of their bytes and every habit of the servers that send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connections.providers.calls import Frame, Framing
from connections.providers.errors import BadReply, ProviderError
from connections.providers.framing import MAX_EVENT, SSE, reader

STREAM = (
    '\ufeffdata: {"text":"Grüße 🐟"}\n\n'
    "event: ping\ndata: {}\n\n"
    ": welcome\n\n"
    "id: 1\nretry: 99999999999999999999\ndata:no space\n\n"
    "data: two\ndata: lines\n\n"
    ": keep-alive\n\n\n"
    "event: nothing\n\n"
    "data\n\n"
    "data: [DONE]\n\n"
).encode()
FRAMES = [
    Frame("", '{"text":"Grüße 🐟"}'.encode()),
    Frame("ping", b"{}"),
    Frame("", b"no space"),
    Frame("", b"two\nlines"),
    Frame("", b"[DONE]"),
]


def read(pieces: list[bytes]) -> list[Frame]:
    sse = reader(Framing.SSE)
    return [frame for piece in pieces for frame in sse.feed(piece)] + sse.end()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_every_split_gives_the_same_frames(newline):
    stream = STREAM.replace(b"\n", newline)
    for at in range(len(stream) + 1):
        assert read([stream[:at], stream[at:]]) == FRAMES
    assert read([stream[at : at + 1] for at in range(len(stream))]) == FRAMES


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_no_bytes_break_the_reader_and_no_split_changes_what_it_reads(pieces):
    assert read(pieces) == read([b"".join(pieces)])


def test_frames_are_given_out_as_soon_as_they_are_whole():
    sse = SSE()

    assert sse.feed(b"data: a\n\ndata: b\n\nda") == [Frame("", b"a"), Frame("", b"b")]
    assert sse.feed(b"ta: c\n") == []
    assert sse.feed(b"\n") == [Frame("", b"c")]


def test_the_last_event_needs_no_blank_line():
    assert read([b"data: a\n\ndata: b"]) == [Frame("", b"a"), Frame("", b"b")]
    assert read([b"data: a\n\ndata: b\n"]) == [Frame("", b"a"), Frame("", b"b")]


def test_empty_reads_change_nothing():
    assert read([b"data: a\r", b"", b"\n", b"\r\n"]) == [Frame("", b"a")]


@pytest.mark.parametrize("end", [b"", b"\n\n"])
def test_one_endless_event_is_refused(end):
    with pytest.raises(BadReply):
        SSE().feed(b"data: " + b"x" * (MAX_EVENT + 1) + end)


def test_a_large_event_below_the_cap_is_read():
    text = b"x" * (MAX_EVENT - 10)
    pieces = [text[at : at + 65536] for at in range(0, len(text), 65536)]

    assert read([b"data: ", *pieces, b"\n\n"]) == [Frame("", text)]


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_our_errors(data):
    try:
        read([data])
    except ProviderError:
        pytest.fail("less than the cap is never refused")
