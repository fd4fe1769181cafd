"""What can go wrong with an upstream, each as a named script step.

Every fault takes the fields of `wire.Plan` as extra keywords: `Fault.no_done(text="one two", delay=0.1)`.
"""

import asyncio
import gzip
import threading
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.upstream.wire import Event, Stream

if TYPE_CHECKING:
    from tests.upstream.server import Exchange

Act = Callable[["Exchange"], Awaitable[None]]
MEBIBYTE = 2**20
LOGIN_PAGE = b"<!doctype html><title>Sign in</title><form action='/login'><input name=password></form>"


async def answer(exchange: "Exchange") -> None:
    await exchange.answer()


@dataclass(frozen=True)
class Fault:
    name: str
    act: Act = answer
    plan: Mapping[str, Any] = field(default_factory=dict)

    # --- no fault: a given answer

    @staticmethod
    def answer(**plan: Any) -> "Fault":
        """A proper answer with a given `text`, `chunks`, `delay`, `cached`, `reasoning`, `model`, `created` …"""
        return Fault("answer", plan=plan)

    @staticmethod
    def usage(given: Any, **plan: Any) -> "Fault":
        """`given` in place of the usage object: ABSENT, None or a literal in the dialect's own words."""
        return Fault("usage", plan={**plan, "usage": given})

    @staticmethod
    def tokens(prompt: Any, completion: Any, again: tuple[Any, Any] | None = None, **plan: Any) -> "Fault":
        """These token counts in the dialect's usage object, and `again` others in a later event."""
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "usage_again": again}
        return Fault("tokens", plan={**plan, **counts})

    @staticmethod
    def streamed(**plan: Any) -> "Fault":
        """A stream, whatever was asked."""
        return Fault("streamed", plan={**plan, "stream": True})

    @staticmethod
    def whole(**plan: Any) -> "Fault":
        """A whole answer, whatever was asked."""
        return Fault("whole", plan={**plan, "stream": False})

    @staticmethod
    def choices(twist: str, **plan: Any) -> "Fault":
        """`missing`, `index` (7) or `finish_twice`."""
        return Fault(f"choices_{twist}", plan={**plan, "twist": twist})

    # --- before the first byte

    @staticmethod
    def hang_up() -> "Fault":
        """Read the request, then reset the connection."""

        async def act(exchange: "Exchange") -> None:
            exchange.reset()

        return Fault("hang_up", act)

    @staticmethod
    def silence() -> "Fault":
        """Read the request and never answer."""

        async def act(exchange: "Exchange") -> None:
            await exchange.pause(3600)

        return Fault("silence", act)

    @staticmethod
    def slow_head(every: float = 1.0) -> "Fault":
        """One byte of the header at a time."""

        async def act(exchange: "Exchange") -> None:
            for byte in b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + b"x-slow: 1\r\n" * 1000:
                await exchange.send(bytes([byte]))
                await exchange.pause(every)

        return Fault("slow_head", act)

    # --- a wrong whole answer

    @staticmethod
    def raw(data: bytes, *, close: bool = True) -> "Fault":
        """These bytes instead of an answer, head included."""

        async def act(exchange: "Exchange") -> None:
            await exchange.send(data)
            exchange.closes = close

        return Fault("raw", act)

    @staticmethod
    def status(status: int, body: bytes | None = None, **headers: str) -> "Fault":
        """An error of the dialect (or `body`) with this status; `retry_after="3"` becomes a header."""

        async def act(exchange: "Exchange") -> None:
            given = exchange.refusal(status, "Scripted failure.") if body is None else body
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            await exchange.whole(status, given, {"content-type": "application/json"} | named)

        return Fault(f"status_{status}", act)

    @staticmethod
    def echoes_key(status: int = 401) -> "Fault":
        """An error that repeats the key it was sent, as some providers do."""

        async def act(exchange: "Exchange") -> None:
            headers = exchange.request.headers
            key = headers.get("authorization", headers.get("x-api-key", ""))
            await exchange.whole(status, exchange.refusal(status, f"Incorrect API key provided: {key}"))

        return Fault("echoes_key", act)

    @staticmethod
    def body(body: bytes, content_type: str = "application/json", status: int = 200) -> "Fault":
        async def act(exchange: "Exchange") -> None:
            await exchange.whole(status, body, {"content-type": content_type})

        return Fault("body", act)

    @staticmethod
    def html() -> "Fault":
        """A login page with status 200."""
        return Fault.body(LOGIN_PAGE, "text/html; charset=utf-8")

    @staticmethod
    def error_inside_success() -> "Fault":
        async def act(exchange: "Exchange") -> None:
            await exchange.whole(200, exchange.refusal(500, "Scripted failure."))

        return Fault("error_inside_success", act)

    @staticmethod
    def empty() -> "Fault":
        return Fault.body(b"")

    @staticmethod
    def no_content() -> "Fault":
        return Fault.raw(b"HTTP/1.1 204 No Content\r\n\r\n", close=False)

    @staticmethod
    def half_json() -> "Fault":
        async def act(exchange: "Exchange") -> None:
            body = exchange.whole_body()
            await exchange.whole(200, body[: len(body) // 2])

        return Fault("half_json", act)

    @staticmethod
    def long_length() -> "Fault":
        """Content-Length promises more than comes."""

        async def act(exchange: "Exchange") -> None:
            body = exchange.whole_body()
            await exchange.head(200, {"content-type": "application/json", "content-length": str(len(body) + 100)})
            await exchange.send(body)
            exchange.closes = True

        return Fault("long_length", act)

    @staticmethod
    def wrong_charset() -> "Fault":
        """Says UTF-8, sends Latin-1 with a byte that UTF-8 does not know."""

        async def act(exchange: "Exchange") -> None:
            exchange.plan.text = "Größe"
            body = exchange.whole_body().decode().encode("latin-1")
            await exchange.whole(200, body, {"content-type": "application/json; charset=utf-8"})

        return Fault("wrong_charset", act)

    @staticmethod
    def huge_body(size: int = 2**30) -> "Fault":
        """A JSON string that does not end for `size` bytes."""

        async def act(exchange: "Exchange") -> None:
            await exchange.head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})
            await exchange.chunk(b'{"choices": "')
            await exchange.filler(size)
            await exchange.chunk(b'"}')
            await exchange.chunk(b"")

        return Fault("huge_body", act)

    @staticmethod
    def gzip_bomb(size: int = 200 * MEBIBYTE) -> "Fault":
        """A few hundred kilobytes that unpack to `size` bytes."""

        async def act(exchange: "Exchange") -> None:
            headers = {"content-type": "application/json", "content-encoding": "gzip"}
            await exchange.whole(200, _bomb(size), headers)

        return Fault("gzip_bomb", act)

    @staticmethod
    def gzipped() -> "Fault":
        """A proper answer, compressed."""

        async def act(exchange: "Exchange") -> None:
            headers = {"content-type": "application/json", "content-encoding": "gzip"}
            await exchange.whole(200, gzip.compress(exchange.whole_body()), headers)

        return Fault("gzipped", act)

    @staticmethod
    def huge_header(size: int = MEBIBYTE) -> "Fault":
        async def act(exchange: "Exchange") -> None:
            await exchange.whole(200, exchange.whole_body(), {"content-type": "application/json", "x-big": "a" * size})

        return Fault("huge_header", act)

    @staticmethod
    def redirect(location: str, status: int = 302) -> "Fault":
        async def act(exchange: "Exchange") -> None:
            await exchange.whole(status, b"", {"location": location})

        return Fault(f"redirect_{status}", act)

    # --- a wrong stream

    @staticmethod
    def reset_after_head() -> "Fault":
        async def act(exchange: "Exchange") -> None:
            await exchange.stream_head()
            await exchange.pause(0.05)
            exchange.reset()

        return Fault("reset_after_head", act)

    @staticmethod
    def reset_mid_event(after: int = 2, **plan: Any) -> "Fault":
        """`after` whole events, half of the next one, then a reset."""

        async def act(exchange: "Exchange") -> None:
            stream = await exchange.stream_head()
            await exchange.events(stream, stream.events[:after])
            data = stream.events[after].data
            await exchange.chunk(data[: len(data) // 2])
            await exchange.pause(0.05)
            exchange.reset()

        return Fault("reset_mid_event", act, plan)

    @staticmethod
    def error_mid_stream(after: int = 2, status: int = 529, **plan: Any) -> "Fault":
        """The dialect's own error object inside a stream."""

        async def act(exchange: "Exchange") -> None:
            stream = await exchange.stream_head()
            await exchange.events(stream, stream.events[:after])
            await exchange.chunk(b"event: error\ndata: " + exchange.refusal(status, "Scripted failure.") + b"\n\n")
            await exchange.chunk(b"")

        return Fault("error_mid_stream", act, plan)

    @staticmethod
    def stalls(after: int = 2, **plan: Any) -> "Fault":
        """Some events, then nothing more, with the connection open."""

        async def act(exchange: "Exchange") -> None:
            stream = await exchange.stream_head()
            await exchange.events(stream, stream.events[:after])
            await exchange.pause(3600)

        return Fault("stalls", act, plan)

    @staticmethod
    def held(until: threading.Event, after: int = 2, **plan: Any) -> "Fault":
        """Some events, and the rest when the test sets `until`."""

        async def act(exchange: "Exchange") -> None:
            stream = await exchange.stream_head()
            await exchange.events(stream, stream.events[:after])
            while not until.is_set():
                await exchange.pause(0.01)
            await exchange.events(stream, stream.events[after:])
            await exchange.chunk(b"")

        return Fault("held", act, plan)

    @staticmethod
    def no_done(**plan: Any) -> "Fault":
        """The stream closes without its proper end."""
        return _edited("no_done", lambda events: events[:-1], plan)

    @staticmethod
    def ends_early(after: int = 3, **plan: Any) -> "Fault":
        """The stream closes cleanly in the middle of its text."""
        return _edited("ends_early", lambda events: events[:after], plan)

    @staticmethod
    def done_twice(**plan: Any) -> "Fault":
        return _edited("done_twice", lambda events: [*events, events[-1]], plan)

    @staticmethod
    def data_after_done(**plan: Any) -> "Fault":
        return _edited("data_after_done", lambda events: [*events, Event(_text_event(events))], plan)

    @staticmethod
    def not_json(after: int = 2, **plan: Any) -> "Fault":
        broken = Event(b"data: {oops\n\n")
        return _edited("not_json", lambda events: [*events[:after], broken, *events[after:]], plan)

    @staticmethod
    def hostile_fields(**plan: Any) -> "Fault":
        """`id` with NUL and markup, absurd and negative `retry`, an unknown field, before every event."""
        prefix = b"id: \x00<script>\r\nretry: 99999999999999999999\nretry: -1\nwhatever: x\n"
        return _edited(
            "hostile_fields", lambda events: [Event(prefix + event.data, event.tokens) for event in events], plan
        )

    @staticmethod
    def huge_event(size: int = 50 * MEBIBYTE, after: int = 1) -> "Fault":
        """One event without a newline for `size` bytes."""

        async def act(exchange: "Exchange") -> None:
            stream = await exchange.stream_head()
            await exchange.events(stream, stream.events[:after])
            await exchange.chunk(b'data: {"choices": "')
            await exchange.filler(size)
            await exchange.chunk(b'"}\n\n')
            await exchange.events(stream, stream.events[after:])
            await exchange.chunk(b"")

        return Fault("huge_event", act)

    @staticmethod
    def comments(count: int = 20, every: float = 0.05, **plan: Any) -> "Fault":
        """Nothing but keep-alive comments for a while, then the stream."""

        async def act(exchange: "Exchange") -> None:
            stream = await exchange.stream_head()
            for _ in range(count):
                await exchange.chunk(b": keep-alive\n\n")
                await exchange.pause(every)
            await exchange.events(stream, stream.events)
            await exchange.chunk(b"")

        return Fault("comments", act, plan)

    @staticmethod
    def split_everywhere(size: int = 1, text: str = "Größe 🙂 日本", **plan: Any) -> "Fault":
        """The stream in pieces of `size` bytes, so that events break inside characters."""

        async def act(exchange: "Exchange") -> None:
            stream = await exchange.stream_head()
            data = b"".join(event.data for event in stream.events)
            for start in range(0, len(data), size):
                await exchange.chunk(data[start : start + size])
                await asyncio.sleep(0)
            exchange.bill(stream, sum(event.tokens for event in stream.events))
            await exchange.chunk(b"")

        return Fault("split_everywhere", act, {**plan, "text": text})

    @staticmethod
    def carriage_returns(**plan: Any) -> "Fault":
        """The stream with CRLF line ends and a byte order mark."""

        def edit(events: list[Event]) -> list[Event]:
            crlf = [Event(event.data.replace(b"\n", b"\r\n"), event.tokens) for event in events]
            return [Event(b"\xef\xbb\xbf"), *crlf]

        return _edited("carriage_returns", edit, plan)


@cache
def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(b" " * MEBIBYTE) for _ in range(size // MEBIBYTE)) + packer.flush()


def _text_event(events: list[Event]) -> bytes:
    return next((event.data for event in events if event.tokens), events[0].data)


def _edited(name: str, edit: Callable[[list[Event]], list[Event]], plan: Mapping[str, Any]) -> Fault:
    """A stream with other events; a whole answer stays as it is."""

    async def act(exchange: "Exchange") -> None:
        prepared = exchange.prepared()
        if isinstance(prepared, Stream):
            prepared.events[:] = edit(prepared.events)
        await exchange.answer(prepared)

    return Fault(name, act, plan)
