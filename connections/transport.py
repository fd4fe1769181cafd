"""The only code that opens a connection to the outside.

One `Transport` per event loop. It connects only to addresses the guard has checked, never follows a redirect,
always verifies TLS, bounds every wait and every answer, and turns each failure into an error of the contract.
"""

from asyncio import AbstractEventLoop, get_running_loop, sleep
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import NamedTuple, Self

from yarl import URL

from connections import addresses, tls
from connections.decoding import Inflater, inflater
from connections.dialing import Dialer, Lookup, Probe, system_lookup
from connections.heads import head
from connections.pool import Pool
from connections.providers.calls import Answer, Frame, Framing, Outgoing
from connections.providers.errors import BadReply, Unreachable
from connections.providers.framing import reader
from connections.wire import Origin, Request, Timeouts, Wire

__all__ = [
    "DEFAULT_OPTIONS",
    "DEFAULT_TIMEOUTS",
    "MAX_BODY",
    "Frames",
    "Incoming",
    "NetworkOptions",
    "Probe",
    "Timeouts",
    "Transport",
]

MAX_BODY = 32 * 1024 * 1024


class NetworkOptions(NamedTuple):
    ca_certificate: str = ""
    """PEM of an authority to trust beside the public ones."""


DEFAULT_OPTIONS = NetworkOptions()
DEFAULT_TIMEOUTS = Timeouts()


class Target(NamedTuple):
    """A URL that was checked, as a request needs it."""

    origin: Origin
    host: str
    """As requests name it."""
    path: str

    @classmethod
    def of(cls, url: URL, ca_certificate: str) -> "Target":
        origin = Origin(url.scheme, str(url.raw_host), url.port or 0, ca_certificate)
        return cls(origin, url.host_port_subcomponent or "", url.raw_path_qs)


class Transport:
    """Sends requests. Use it as an async context, or call `start` and `close`, on one event loop."""

    def __init__(self, lookup: Lookup = system_lookup, guard: addresses.Guard | None = None) -> None:
        self._guard = guard or addresses.guard()
        self._target = lru_cache(maxsize=1024)(self._checked)
        self._dialer = Dialer(lookup, self._guard)
        self._loop: AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        tls.context(DEFAULT_OPTIONS.ca_certificate)  # reads the public authorities now, not during the first call
        self._loop, self._pool = get_running_loop(), Pool()

    async def close(self) -> None:
        if self._loop is None:
            return
        self._loop = None
        self._dialer.close()
        self._pool.close()
        await sleep(0)  # sockets are closed in the loop's next round, and it may end now

    async def send(
        self,
        outgoing: Outgoing,
        *,
        options: NetworkOptions = DEFAULT_OPTIONS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> Answer:
        """The whole answer, whatever its status; a redirect is an answer too."""
        incoming = await self._open(outgoing, options, timeouts)
        try:
            return Answer(incoming.status, incoming.headers, await incoming.read())
        finally:
            incoming.close()

    @asynccontextmanager
    async def stream(
        self,
        outgoing: Outgoing,
        *,
        options: NetworkOptions = DEFAULT_OPTIONS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> AsyncIterator["Incoming"]:
        """The answer as soon as its headers are there. Leaving early closes the connection."""
        incoming = await self._open(outgoing, options, timeouts)
        try:
            yield incoming
        finally:
            incoming.close()

    async def probe(
        self,
        url: str,
        *,
        options: NetworkOptions = DEFAULT_OPTIONS,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> Probe:
        """Resolve, check, connect and shake hands, without sending anything."""
        return await self._dialer.probe(self._checked(url, options.ca_certificate).origin, timeouts.connect)

    def _checked(self, url: str, ca_certificate: str) -> Target:
        return Target.of(self._guard.url(url), ca_certificate)

    async def _open(self, outgoing: Outgoing, options: NetworkOptions, timeouts: Timeouts) -> "Incoming":
        """The beginning of the answer. Asks once more where a kept connection turns out to be dead."""
        if self._loop is None:
            raise RuntimeError("The transport was not started.")
        origin, host, path = self._target(outgoing.url, options.ca_certificate)
        started = self._loop.time()
        request = Request(outgoing.method, head(outgoing, path, host), outgoing.body, timeouts, started)
        kept = self._pool.take(origin)
        if kept is not None:
            try:
                return await _begun(kept, request)
            except Unreachable:
                if kept.spoke:
                    raise
        return await _begun(await self._connect(origin, timeouts), request)

    async def _connect(self, origin: Origin, timeouts: Timeouts) -> Wire:
        made = partial(Wire, origin, self._pool)
        return await self._dialer.connect(origin, made, min(timeouts.connect, timeouts.first_byte, timeouts.total))


async def _begun(wire: Wire, request: Request) -> "Incoming":
    try:
        await wire.ask(request)
        return Incoming(wire)
    except BaseException:
        wire.release()
        raise


class Incoming:
    """An answer on its way in."""

    def __init__(self, wire: Wire) -> None:
        self.status, self.headers = wire.status, wire.headers
        encoding = self.headers.get("content-encoding")
        self._inflater = inflater(encoding) if encoding else None
        self._wire: Wire | None = wire

    def close(self) -> None:
        """Cuts the connection unless the whole answer has come."""
        if self._wire is not None:
            self._wire.release()
            self._wire = None

    async def read(self, most: int = MAX_BODY) -> bytes:
        pieces, size = [], 0
        while piece := await self.piece():
            size += len(piece)
            if size > most:
                raise BadReply(f"The provider's answer is larger than {most // 2**20} MiB.")
            pieces.append(piece)
            if self._inflater is None and self._wire is not None and self._wire.complete:
                break
        return b"".join(pieces) if len(pieces) != 1 else pieces[0]

    def frames(self, framing: Framing) -> "Frames":
        return Frames(self, framing)

    def piece(self) -> Awaitable[bytes]:
        """The next bytes, unpacked; empty at the end."""
        if self._wire is None:
            raise RuntimeError("The answer was closed.")
        return self._wire.piece() if self._inflater is None else self._unpacked(self._wire, self._inflater)

    async def _unpacked(self, wire: Wire, inflater: Inflater) -> bytes:
        while not (piece := inflater.take()):
            raw = await wire.piece()
            if not raw:
                inflater.finish()
                return b""
            inflater.put(raw)
        return piece


class Frames:
    """The frames of an answer, iterated: those that each read brings together can be passed on in one write."""

    def __init__(self, incoming: Incoming, framing: Framing) -> None:
        self._piece, self._reader = incoming.piece, reader(framing)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Frame]:
        while piece := await self._piece():
            if frames := self._reader.feed(piece):
                return frames
        if frames := self._reader.end():
            return frames
        raise StopAsyncIteration
