"""The only code that opens a connection to the outside.

One `Transport` per event loop. It connects only to addresses the guard has checked, never follows a redirect,
always verifies TLS, bounds every wait and every answer, and turns each failure into an error of the contract.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from itertools import chain
from time import perf_counter
from typing import Any, NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import ContentLengthError
from yarl import URL

from connections import addresses, tls
from connections.decoding import inflater
from connections.providers.calls import Answer, Frame, Framing, Outgoing
from connections.providers.errors import (
    AddressRefused,
    BadReply,
    KeyRefused,
    ProviderError,
    TimedOut,
    TLSFailed,
    Unreachable,
)
from connections.providers.framing import reader

MAX_BODY = 32 * 1024 * 1024
MAX_HEADERS = 64 * 1024
MAX_HEADER = 16 * 1024
KEEP_ALIVE = 30.0
"""Seconds that an idle connection is kept for the next call."""
OWN_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Decided by the request itself, never by a setting."""

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host name. Raises OSError."""


class Timeouts(NamedTuple):
    """Seconds."""

    connect: float = 5.0
    first_byte: float = 60.0
    """Until the answer's headers are complete."""
    between: float = 30.0
    """Longest silence within an answer."""
    total: float = 600.0


class NetworkOptions(NamedTuple):
    ca_certificate: str = ""
    """PEM of an authority to trust beside the public ones."""


class Probe(NamedTuple):
    """What it took to reach a host."""

    address: str
    dns_ms: int
    connect_ms: int
    tls_ms: int


DEFAULT_OPTIONS = NetworkOptions()
DEFAULT_TIMEOUTS = Timeouts()


async def system_lookup(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(address[0]) for *_, address in found]


class Transport:
    """Sends requests. Use it as an async context, or call `start` and `close`, on one event loop."""

    def __init__(self, lookup: Lookup = system_lookup, guard: addresses.Guard | None = None) -> None:
        self._guard = guard or addresses.guard()
        self._url = lru_cache(maxsize=1024)(self._guard.url)
        self._lookup = lookup
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        tls.context(DEFAULT_OPTIONS.ca_certificate)  # reads the public authorities now, not during the first call
        self._session = aiohttp.ClientSession(
            connector=_Connector(resolver=_Resolver(self._resolve), limit=0, keepalive_timeout=KEEP_ALIVE),
            headers={"User-Agent": "llm-mesh", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )
        self._session._retry_connection = False  # it repeats also what failed on a fresh connection

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        target = self._url(url)
        try:
            async with asyncio.timeout(timeouts.connect):
                return await self._probe(target, options)
        except TimeoutError as error:
            raise _connect_timed_out(timeouts) from error
        except OSError as error:
            raise _connect_failure(error, target) from error

    async def _probe(self, url: URL, options: NetworkOptions) -> Probe:
        host, port = str(url.raw_host), url.port or 0
        context = tls.context(options.ca_certificate) if url.scheme == "https" else None
        started = perf_counter()
        found = [host] if addresses.literal(host) else await self._resolve(host, port)
        resolved = perf_counter()
        wire = await _connect_to_any(found, port)
        connected = perf_counter()
        try:
            if context:
                loop = asyncio.get_running_loop()
                await loop.start_tls(wire, asyncio.Protocol(), context, server_hostname=host)
            shaken = perf_counter()
            address = wire.get_extra_info("peername")[0]
        finally:
            wire.abort()
        return Probe(address, _ms(resolved - started), _ms(connected - resolved), _ms(shaken - connected))

    async def _resolve(self, host: str, port: int) -> list[str]:
        found = await self._lookup(host, port)
        self._guard.addresses(found, host)
        return found

    async def _open(self, outgoing: Outgoing, options: NetworkOptions, timeouts: Timeouts) -> "Incoming":
        """The beginning of the answer."""
        url = self._url(outgoing.url)
        _check_headers(outgoing.headers)
        try:
            async with asyncio.timeout(min(timeouts.first_byte, timeouts.total)):
                response = await self._request(url, outgoing, options, timeouts)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _opening_failure(error, url, timeouts) from error
        try:
            return Incoming(response, timeouts)
        except ProviderError:
            response.close()
            raise

    async def _request(
        self, url: URL, outgoing: Outgoing, options: NetworkOptions, timeouts: Timeouts
    ) -> aiohttp.ClientResponse:
        """Asks once more if a kept connection turned out to be dead before it answered anything."""
        if self._session is None:
            raise RuntimeError("The transport was not started.")
        request = partial(
            self._session.request,
            outgoing.method,
            url,
            headers=outgoing.headers,
            data=outgoing.body or None,
            timeout=_client_timeout(timeouts),
            ssl=tls.context(options.ca_certificate),
            allow_redirects=False,
        )
        _wire.set(None)
        try:
            return await request()
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            wire = _wire.get()
            if wire is None or wire.fresh or wire.received:
                raise
            return await request()


class Incoming:
    """An answer on its way in."""

    def __init__(self, response: aiohttp.ClientResponse, timeouts: Timeouts) -> None:
        if sum(map(len, chain.from_iterable(response.raw_headers))) > MAX_HEADERS:
            raise BadReply("The provider sent more than 64 KiB of headers.")
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        """Names in lower case."""
        self._response = response
        self._inflater = inflater(self.headers.get("content-encoding", ""))
        self._timeouts = timeouts
        self._wire = response.connection.protocol if response.connection else None
        if self._wire is not None:
            self._wire.read_timeout = timeouts.between
            self._wire.start_timeout()

    def close(self) -> None:
        """Cuts the connection unless the answer was read to its end."""
        self._response.close()

    async def read(self, most: int = MAX_BODY) -> bytes:
        pieces, size = [], 0
        while piece := await self._piece():
            size += len(piece)
            if size > most:
                raise BadReply(f"The provider's answer is larger than {most // 2**20} MiB.")
            pieces.append(piece)
        return b"".join(pieces)

    async def frames(self, framing: Framing) -> AsyncIterator[list[Frame]]:
        """The frames that each read brought, together, so that they can be passed on in one write."""
        frame_reader = reader(framing)
        while piece := await self._piece():
            if frames := frame_reader.feed(piece):
                yield frames
        if frames := frame_reader.end():
            yield frames

    async def _piece(self) -> bytes:
        """The next bytes, unpacked; empty at the end."""
        if self._inflater is None:
            return await self._raw_piece()
        while not (piece := self._inflater.take()):
            raw = await self._raw_piece()
            if not raw:
                self._inflater.finish()
                return b""
            self._inflater.put(raw)
        return piece

    async def _raw_piece(self) -> bytes:
        try:
            return await self._response.content.readany()
        except aiohttp.SocketTimeoutError as error:
            raise TimedOut(f"The provider was silent for {self._timeouts.between:g} s within its answer.") from error
        except TimeoutError as error:
            raise TimedOut(f"The provider's answer took longer than {self._timeouts.total:g} s.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._cut(error) from error

    def _cut(self, error: Exception) -> ProviderError:
        reset = self._wire is not None and isinstance(self._wire.exception(), aiohttp.ClientOSError)
        if isinstance(error.__cause__, ContentLengthError) and not reset:
            return BadReply("The provider's answer is shorter than it says.")
        return Unreachable("The connection to the provider was cut off within its answer.", evidence=str(error))


class _Wire(ResponseHandler):
    """One connection; remembers what a retry must know."""

    fresh = True
    """On its first request."""
    received = False
    """Something came back since the request was sent."""

    def data_received(self, data: bytes) -> None:
        self.received = True
        super().data_received(data)

    def close(self) -> None:
        """At once: what is still unsent would otherwise hold the connection open."""
        self.abort()


_wire: ContextVar[_Wire | None] = ContextVar("_wire", default=None)
"""The connection that the request of this task went out on."""


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = partial(_Wire, loop=self._loop)

    async def connect(self, *arguments: Any, **options: Any) -> Any:
        connection: Any = await super().connect(*arguments, **options)
        wire: _Wire = connection.protocol
        wire.fresh, wire.received = not wire.received, False
        _wire.set(wire)
        return connection


class _Resolver(AbstractResolver):
    """Gives the connector only addresses that were checked, so the address checked is the address connected to."""

    def __init__(self, resolve: Lookup) -> None:
        self._checked = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=address, port=port, family=_family(address), proto=0, flags=flags)
            for address in await self._checked(host, port)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@lru_cache(maxsize=64)
def _client_timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=timeouts.total, connect=timeouts.connect)


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise KeyRefused(
                f"The header {name!r} holds a line break or another character that headers cannot carry. "
                "Replace the key or the header in the connection's settings."
            )
        if name.lower() in OWN_HEADERS or not _is_token(name):
            raise KeyRefused(f"The header {name!r} cannot be set. Remove it from the connection's settings.")


@lru_cache(maxsize=256)
def _is_token(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").isalnum()


async def _connect_to_any(found: list[str], port: int) -> asyncio.Transport:
    """The first of the addresses that takes the connection."""
    loop, failure = asyncio.get_running_loop(), OSError("The name has no address.")
    for address in found:
        try:
            return (await loop.create_connection(asyncio.Protocol, address, port))[0]
        except OSError as error:
            failure = error
    raise failure


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _opening_failure(error: Exception, url: URL, timeouts: Timeouts) -> ProviderError:
    """What a request amounts to that brought no answer."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _connect_timed_out(timeouts)
    if isinstance(error, TimeoutError):
        patience = min(timeouts.first_byte, timeouts.total)
        return TimedOut(f"The provider did not begin to answer within {patience:g} s.")
    if isinstance(error, aiohttp.InvalidURL):
        return AddressRefused("The address cannot be read.")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        return _connect_failure(error.__cause__, url)
    if isinstance(error, aiohttp.ClientResponseError):
        return BadReply("The provider's server does not answer in proper HTTP.", evidence=error.message)
    return Unreachable("The provider closed the connection without an answer.", evidence=str(error))


def _connect_failure(error: BaseException | None, url: URL) -> ProviderError:
    if isinstance(error, ssl.SSLError):
        return tls.failure(error)
    if isinstance(error, socket.gaierror):
        return Unreachable("The provider's host name is not known.", evidence=str(error))
    if isinstance(error, ConnectionRefusedError):
        return Unreachable("The provider's host refuses the connection.")
    if isinstance(error, ConnectionResetError | ConnectionAbortedError) and url.scheme == "https":
        return TLSFailed("The provider's host broke off the TLS handshake. It must speak TLS 1.2 or newer.")
    return Unreachable("The provider's host cannot be reached.", evidence=str(error))


def _connect_timed_out(timeouts: Timeouts) -> TimedOut:
    return TimedOut(f"No connection to the provider within {timeouts.connect:g} s.")
