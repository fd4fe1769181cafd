"""From a name to an open connection: looked up, checked by the guard, connected to what was checked, TLS verified."""

import asyncio
import socket
import ssl
from asyncio.staggered import staggered_race
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple, TypeVar, cast

from connections import addresses, tls
from connections.providers.errors import ProviderError, TimedOut, TLSFailed, Unreachable
from connections.wire import Origin, Wire

REMEMBERED = 10.0
"""Seconds that the addresses of a name hold for further connections."""
HEAD_START = 0.25
"""Seconds that an address has to take the connection before the next one is tried beside it (RFC 8305)."""

P = TypeVar("P", bound=asyncio.BaseProtocol)
Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host name. Raises OSError."""


class Probe(NamedTuple):
    """What it took to reach a host."""

    address: str
    dns_ms: int
    connect_ms: int
    tls_ms: int


async def system_lookup(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(address[0]) for *_, address in found]


class Dialer:
    """Connects only to addresses that the guard has checked, so the address checked is the address connected to."""

    def __init__(self, lookup: Lookup, guard: addresses.Guard) -> None:
        self._lookup, self._guard = lookup, guard
        self._lookups: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def connect(self, origin: Origin, made: Callable[[], Wire], seconds: float) -> Wire:
        context = _context(origin)
        try:
            async with asyncio.timeout(seconds):
                found = await self._checked(origin, self._remembered)
                return await _open(await _connected(found, origin.port), origin, context, made)
        except OSError as error:
            raise _failure(error, origin, seconds) from error

    async def probe(self, origin: Origin, seconds: float) -> Probe:
        """Resolve, check, connect and shake hands, without sending anything."""
        context = _context(origin)
        try:
            async with asyncio.timeout(seconds):
                return await self._probe(origin, context)
        except OSError as error:
            raise _failure(error, origin, seconds) from error

    def close(self) -> None:
        for lookup in self._lookups.values():
            lookup.cancel()

    async def _probe(self, origin: Origin, context: ssl.SSLContext | None) -> Probe:
        started = perf_counter()
        found = await self._checked(origin, self._resolve)
        resolved = perf_counter()
        reached = await _connected(found, origin.port)
        connected, address = perf_counter(), str(reached.getpeername()[0])
        (await _open(reached, origin, context, _Silent)).transport.abort()
        shaken = perf_counter()
        return Probe(address, _ms(resolved - started), _ms(connected - resolved), _ms(shaken - connected))

    async def _checked(self, origin: Origin, resolve: Lookup) -> list[str]:
        literal = addresses.literal(origin.host)  # checked with the URL
        return [origin.host] if literal else await resolve(origin.host, origin.port)

    async def _remembered(self, host: str, port: int) -> list[str]:
        """One lookup for all who want to know at the same time, and for a while after."""
        lookup = self._lookups.get((host, port))
        if lookup is None:
            loop = asyncio.get_running_loop()
            lookup = self._lookups[host, port] = loop.create_task(self._resolve(host, port))
            lookup.add_done_callback(partial(self._found, (host, port)))
        return await asyncio.shield(lookup)

    def _found(self, name: tuple[str, int], lookup: asyncio.Task[list[str]]) -> None:
        if lookup.cancelled() or lookup.exception():
            self._lookups.pop(name, None)
        else:
            lookup.get_loop().call_later(REMEMBERED, self._lookups.pop, name, None)

    async def _resolve(self, host: str, port: int) -> list[str]:
        found = await self._lookup(host, port)
        self._guard.addresses(found, host)
        return found


class _Silent(asyncio.Protocol):
    """A connection that nothing is said on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


async def _connected(found: Sequence[str], port: int) -> socket.socket:
    """To whichever of the addresses takes the connection first; they begin one after the other."""
    reached, _, failures = await staggered_race([partial(_connect, one, port) for one in found], HEAD_START)
    if reached is None:
        raise next((one for one in reversed(failures) if one), OSError("The name has no address."))
    return cast(socket.socket, reached)


async def _connect(address: str, port: int) -> socket.socket:
    reached = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        reached.setblocking(False)
        reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only where it made the socket
        await asyncio.get_running_loop().sock_connect(reached, (address, port))
    except BaseException:
        reached.close()
        raise
    return reached


def _context(origin: Origin) -> ssl.SSLContext | None:
    return tls.context(origin.ca_certificate) if origin.scheme == "https" else None


async def _open(reached: socket.socket, origin: Origin, context: ssl.SSLContext | None, made: Callable[[], P]) -> P:
    name = origin.host if context else None
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(made, sock=reached, ssl=context, server_hostname=name)
    return wire


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _failure(error: OSError, origin: Origin, seconds: float) -> ProviderError:
    if isinstance(error, TimeoutError):
        return TimedOut(f"No connection to the provider within {seconds:g} s.")
    if isinstance(error, ssl.SSLError):
        return tls.failure(error)
    if isinstance(error, socket.gaierror):
        return Unreachable("The provider's host name is not known.", evidence=str(error))
    if isinstance(error, ConnectionRefusedError):
        return Unreachable("The provider's host refuses the connection.")
    if isinstance(error, ConnectionResetError | ConnectionAbortedError) and origin.scheme == "https":
        return TLSFailed("The provider's host broke off the TLS handshake. It must speak TLS 1.2 or newer.")
    return Unreachable("The provider's host cannot be reached.", evidence=str(error))
