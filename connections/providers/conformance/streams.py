"""Streams, however they are cut."""

import json
import re
from collections.abc import Mapping
from typing import Any

from connections.providers import errors
from connections.providers.calls import Frame, Framing, Mode
from connections.providers.conformance.demands import Skipped, demand, equal, fail, raises
from connections.providers.conformance.golden import Golden, read_stream, stream_call

FINISH = re.compile(rb'"(finish|stop)_?[rR]eason": ?"')
NO_JSON = (b"{", b'{"choices": [', b"\xff\xfe", b"[" * 100_000, b"<html>")


def streams_are_recorded(golden: Golden) -> None:
    """If it streams, there is a recorded stream."""
    provider = golden.make()
    texts = [mode for mode in golden.modes if mode in {Mode.CHAT, Mode.COMPLETION}]
    if not any(provider.abilities(golden.target(mode)).streams for mode in texts):
        raise Skipped("it does not stream")
    found = any(True for _ in golden.streams())
    demand(found, "there is no chat_stream.sse (or .ndjson, .nul, .bin) with its .json")


def every_split_is_read_alike(golden: Golden) -> None:
    """A recorded stream says the same wherever the network cuts it in two."""
    provider, step = golden.make(), 97 if golden.inherited("*_stream*") else 1
    for stream, expected in golden.streams():
        chunks: list[Any] = []
        for at in range(0, len(stream), step):
            chunks, events = read_stream(provider, expected, [stream[:at], stream[at:]])
            _says(assembled(chunks), expected, events, at)
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        finishes = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        equal(finishes, [expected["finish_reason"]], "the finish reasons of the chunks are")


def _says(told: Mapping[str, Any], expected: Mapping[str, Any], events: Any, at: int) -> None:
    where = f"cut at byte {at},"
    for name in ("text", "tool_calls"):
        equal(told[name], expected[name], f"{where} {name} is")
    finish = events.finish_reason, events.model
    equal(finish, (expected["finish_reason"], expected["model"]), f"{where} finish reason and model are")
    usage = {name: getattr(events.usage, name) for name in expected["usage"]}
    equal(usage, expected["usage"], f"{where} the usage is")
    demand(not events.usage.suspect, f"{where} the usage is suspect")


def assembled(chunks: list[Any]) -> dict[str, Any]:
    """What OpenAI's clients make of the chunks."""
    text: str = ""
    calls: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {"content": choice.get("text")}
            text += delta.get("content") or ""
            for call in delta.get("tool_calls") or []:
                whole = calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
                whole["id"] += call.get("id", "")
                whole["name"] += call["function"].get("name", "")
                whole["arguments"] += call["function"].get("arguments", "")
    return {"text": text, "tool_calls": [calls[index] for index in sorted(calls)]}


def usage_is_for_those_who_asked(golden: Golden) -> None:
    """The chunk with the usage comes only where it was asked for; the reader knows it in any case."""
    provider = golden.make()
    for stream, expected in golden.streams():
        asked, _ = read_stream(provider, expected, [stream])
        silent, events = read_stream(provider, expected, [stream], wants_usage=False)
        if expected["usage"].get("completion_tokens") is not None:
            demand(any(chunk.get("usage") for chunk in asked), "no chunk tells the usage that was asked for")
            demand(events.usage.completion_tokens, "the reader does not know the usage")
        demand(all(chunk["choices"] for chunk in silent), "a chunk without choices comes although nobody asked")


def a_cut_stream_is_an_error(golden: Golden) -> None:
    """A stream that ends before its finish is an error. `complete_from` in its file says where the finish begins."""
    provider, step = golden.make(), 31 if golden.inherited("*_stream*") else 1
    for stream, expected in golden.streams():
        mark = expected.get("complete_from", "").encode()
        found = re.search(re.escape(mark), stream) if mark else FINISH.search(stream)
        if found is None:
            fail("the stream shows no finish; name its beginning in complete_from")
        for cut in range(0, found.start(), step):
            what = f"a stream cut at byte {cut}"
            raises(
                errors.ProviderError,
                lambda stream=stream, expected=expected, cut=cut: read_stream(provider, expected, [stream[:cut]]),  # type: ignore[misc]
                what,
            )


def an_empty_stream_is_an_error(golden: Golden) -> None:
    """A stream without anything is a BadReply."""
    provider = golden.make()
    ping = b": ping\n\n" if golden.kind.framing is Framing.SSE else b""
    for _, expected in golden.streams():
        for stream in (b"", b"\n\n", ping):
            raises(
                errors.BadReply,
                lambda stream=stream, expected=expected: read_stream(provider, expected, [stream]),  # type: ignore[misc]
                f"the stream {stream!r}",
            )


def nothing_after_the_end_counts(golden: Golden) -> None:
    """What comes after `[DONE]` is ignored."""
    provider = golden.make()
    for stream, expected in golden.streams():
        if b"[DONE]" in stream:
            chunks, _ = read_stream(provider, expected, [stream])
            longer, _ = read_stream(provider, expected, [stream, b"data: [DONE]\n\ndata: nonsense\n\n"])
            equal(len(longer), len(chunks), "with more after the end, the number of chunks is")


def errors_inside_streams_are_named(golden: Golden) -> None:
    """The frames of errors.json raise the errors that it names."""
    provider = golden.make()
    for told in golden.read("errors.json", {}).get("frames", []):
        data = told["data"] if isinstance(told["data"], str) else json.dumps(told["data"])
        events, frame = provider.events(stream_call(told)), Frame(told.get("event", ""), data.encode())
        error = raises(
            getattr(errors, told["error"]),
            lambda events=events, frame=frame: list(events.feed(frame)),  # type: ignore[misc]
            f"the frame {data[:60]}",
        )
        evidence = getattr(error, "evidence", "")
        equal(evidence, told.get("evidence", evidence), "the evidence is")


def events_without_json_are_bad_replies(golden: Golden, events: tuple[bytes, ...] = NO_JSON) -> None:
    """An event that is no JSON is a BadReply."""
    provider = golden.make()
    for _, expected in golden.streams():
        for data in events:
            whole = expected.get("before", "").encode() + data + expected.get("after", "").encode()
            frame = Frame(expected.get("event", ""), whole)
            reader = provider.events(stream_call(expected))
            raises(
                errors.BadReply,
                lambda reader=reader, frame=frame: list(reader.feed(frame)),  # type: ignore[misc]
                f"the event {data[:20]!r}",
            )
