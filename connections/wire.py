"""One HTTP/1.1 connection: it sends a request, takes in the answer, then waits for the next request.

Knows neither names nor addresses: `dialing` makes connections, `pool` keeps them. Parsed by httptools, strictly.
"""

import asyncio
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple, Protocol, cast

from httptools import HttpParserError, HttpResponseParser

from connections.alarm import Alarm
from connections.providers.errors import BadReply, ProviderError, TimedOut, Unreachable

MAX_HEADERS = 64 * 1024
MAX_HEADER = 16 * 1024
KEEP_ALIVE = 30.0
"""Seconds that an idle connection is kept for the next call."""
MOST_WAITING = 32 * 1024
"""Bytes of an answer that wait for their reader; from there on the sender waits."""
AT_READ = 32 * 1024
"""Bytes that are read at once: what is read of a stream is in memory several times until its client has taken it."""
AT_ONCE = 64 * 1024
"""Bytes handed over in one write."""

NO_HTTP = "The provider's server does not answer in proper HTTP."
TOO_MANY_HEADERS = "The provider sent more than 64 KiB of headers, or one of more than 16 KiB."


class Origin(NamedTuple):
    """Where a connection leads, and whom it trusts: what connections have in common that can stand for each other."""

    scheme: str
    host: str
    port: int
    ca_certificate: str


class Timeouts(NamedTuple):
    """Seconds."""

    connect: float = 5.0
    first_byte: float = 60.0
    """Until the answer's headers are complete."""
    between: float = 30.0
    """Longest silence within an answer."""
    total: float = 600.0


class Request(NamedTuple):
    method: str
    head: bytes
    body: bytes
    timeouts: Timeouts
    asked: float
    """When the caller began to wait, on the loop's clock."""


class Home(Protocol):
    """Where a connection goes between two exchanges."""

    buffer: memoryview
    """All connections of its event loop read into this one, each in turn."""

    def keep(self, wire: "Wire") -> None: ...

    def lose(self, wire: "Wire") -> None: ...


class Wire(asyncio.BufferedProtocol):
    """One exchange at a time: `ask`, `piece` until it is empty, `release`."""

    __slots__ = (
        *("origin", "status", "headers", "spoke", "on_header", "on_body"),
        *("_loop", "_home", "_transport", "_parser", "_raw", "_pieces", "_waiter", "_failure"),
        *("_busy", "_begun", "_over", "_reusable", "_bodiless", "_paused", "_full", "_unsent", "_waiting", "_fed"),
        *("_timeouts", "_asked", "_heard", "_alarm"),
    )

    def __init__(self, origin: Origin, home: Home) -> None:
        self.origin = origin
        self.status = 0
        self.headers: dict[str, str] = {}
        """Names in lower case."""
        self.spoke = False
        """Something came since the request was sent."""
        self._loop = asyncio.get_running_loop()
        self._home = home
        self._raw: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self.on_header, self.on_body = self._raw.__setitem__, self._pieces.append  # called from C for each one
        self._parser: Any = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)  # old servers pad the number
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._busy = self._full = False
        self._alarm = Alarm(self._loop, self._due, self._run_out)
        self._forget()

    def _forget(self) -> None:
        """What the last exchange left."""
        self._failure: ProviderError | None = None
        self._begun = self._over = self._paused = self.spoke = False
        self._reusable = True
        self._unsent: memoryview | None = None
        self._waiting = self._fed = 0

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    async def ask(self, request: Request) -> None:
        """Send a request, and wait until the answer's `status` and `headers` are there."""
        self._forget()
        self._busy, self._bodiless = True, request.method == "HEAD"
        self._timeouts, self._asked = request.timeouts, request.asked
        if not self.open:
            raise self._cut(None)
        self._alarm.look_at(self._due())
        if len(request.body) <= AT_ONCE:
            self._transport.write(request.head + request.body)
        else:
            self._transport.write(request.head)
            self._unsent = memoryview(request.body)
            self._write_on()
        while not self._begun:
            await self._news()

    @property
    def complete(self) -> bool:
        """Whether the last of the body has come: nobody has to wait for the next piece."""
        return self._over

    async def piece(self) -> bytes:
        """All that came of the body since the last call; empty at its end."""
        pieces = self._pieces
        while not pieces:
            if self._over:
                return b""
            await self._news()
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._waiting = 0
        if self._paused:
            self._resume()
        return piece

    def release(self) -> None:
        """The exchange is over for its caller: the connection is kept if it is for the provider too, else cut."""
        self._busy = False
        self._pieces.clear()
        whole = self._over and self._unsent is None and not self._paused
        if whole and self._reusable and self.open:
            self._heard = self._loop.time()
            self._alarm.look_at(self._heard + KEEP_ALIVE)
            self._home.keep(self)
        else:
            self.abort()

    def abort(self) -> None:
        """At once: what is still unsent would otherwise hold the connection open."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, hint: int) -> memoryview:
        return self._home.buffer

    def buffer_updated(self, size: int) -> None:
        if not self._busy:  # nobody asked: whatever it is, it must not become the next caller's answer
            self.abort()
            return
        self.spoke = True
        self._heard = self._loop.time()
        begun, before = self._begun, len(self._pieces)
        self._fed += size
        try:
            self._parser.feed_data(self._home.buffer[:size])  # it copies what it gives out
        except HttpParserError as error:
            self._misread(error)
        if not self._over:
            self._look_after(begun, len(self._pieces) > before, size)
        if self._begun:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        if self._busy and not self._over:
            if self._begun and error is None and self._lasts_until_closed:
                self._over = True
            else:
                self._fail(self._cut(error))
        self._reusable = False
        self._wake()
        self._alarm.stop()
        self._home.lose(self)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._write_on()

    def on_message_begin(self) -> None:
        if self._over:
            raise BadReply("There is something after the answer.")
        self._raw.clear()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if 100 <= self.status < 200 and self.status != 101:
            return
        if self._fed > MAX_HEADER:
            _check_size(self._raw)
        self.headers = {
            _name(name): value.decode("utf-8", "surrogateescape").rstrip() for name, value in self._raw.items()
        }
        if self.status < 200 or self._coding not in ("chunked", "identity"):
            raise BadReply(NO_HTTP)
        self._begun = True
        if self._bodiless:
            self._over, self._reusable = True, False

    def on_message_complete(self) -> None:
        if self._begun:
            self._over = True
            self._reusable = self._reusable and self._parser.should_keep_alive()

    def _look_after(self, begun: bool, body: bool, size: int) -> None:
        """The bounds of an answer that goes on."""
        self._waiting += size
        if body:
            self._fed = 0
        if self._fed > MAX_HEADERS:  # headers and trailers, which the parser hoards until they are complete
            self._fail(BadReply(TOO_MANY_HEADERS))
        elif self._begun and self._pieces and self._waiting > MOST_WAITING:  # else nobody would take anything
            self._pause()
        elif self._begun and not begun:
            self._alarm.look_at(self._due())

    def _misread(self, error: HttpParserError) -> None:
        self._reusable = False
        if not self._over:
            cause = error.__context__
            ours = cause if isinstance(cause, BadReply) else None
            self._fail(ours or BadReply(NO_HTTP, evidence=str(error)))

    def _fail(self, error: ProviderError) -> None:
        if self._failure is None:
            self._failure = error
        self.abort()
        self._wake()

    def _cut(self, error: Exception | None) -> ProviderError:
        evidence = str(error or "")
        if not self._begun:
            return Unreachable("The provider closed the connection without an answer.", evidence=evidence)
        if error is None and "content-length" in self.headers:
            return BadReply("The provider's answer is shorter than it says.")
        return Unreachable("The connection to the provider was cut off within its answer.", evidence=evidence)

    @property
    def _coding(self) -> str:
        return self.headers.get("transfer-encoding", "identity").lower()

    @property
    def _lasts_until_closed(self) -> bool:
        return "content-length" not in self.headers and self._coding != "chunked"

    async def _news(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pause(self) -> None:
        if not self._paused and self.open:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._paused = False
        if self.open:
            self._heard = self._loop.time()
            self._alarm.look_at(self._due())
            self._transport.resume_reading()

    def _write_on(self) -> None:
        """As much of the body as the connection takes now; `resume_writing` goes on."""
        while self._unsent is not None and not self._full and self.open:
            self._transport.write(self._unsent[:AT_ONCE])
            self._unsent = self._unsent[AT_ONCE:] or None

    def _due(self) -> float:
        """When patience ends, as things stand."""
        if not self._busy:
            return self._heard + KEEP_ALIVE
        if self._over:
            return inf
        deadline = self._asked + self._timeouts.total
        if not self._begun:
            return min(self._asked + self._timeouts.first_byte, deadline)
        return deadline if self._paused else min(self._heard + self._timeouts.between, deadline)

    def _run_out(self) -> None:
        timeouts = self._timeouts
        if not self._busy:
            self.abort()
        elif not self._begun:
            patience = min(timeouts.first_byte, timeouts.total)
            self._fail(TimedOut(f"The provider did not begin to answer within {patience:g} s."))
        elif self._due() < self._asked + timeouts.total:
            self._fail(TimedOut(f"The provider was silent for {timeouts.between:g} s within its answer."))
        else:
            self._fail(TimedOut(f"The provider's answer took longer than {timeouts.total:g} s."))


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _check_size(headers: dict[bytes, bytes]) -> None:
    sizes = [len(name) + len(value) for name, value in headers.items()]
    if sizes and (sum(sizes) > MAX_HEADERS or max(sizes) > MAX_HEADER):
        raise BadReply(TOO_MANY_HEADERS)
