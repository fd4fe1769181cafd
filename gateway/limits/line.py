"""One connection to Valkey over which one script is run, again and again.

redis-py opens it (address, TLS, sign-in); what it then costs per command was measured at six times of this, which
every call would pay.
"""

import asyncio
from hashlib import sha1
from typing import Any, Self

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError


class Line(asyncio.Protocol):
    """`run` gives what the script returns, which must be a text. One run at a time."""

    def __init__(self, connection: Any, script: bytes) -> None:
        self._connection = connection  # closes itself where nobody holds it
        self._transport: asyncio.Transport = connection._writer.transport
        self._transport.set_protocol(self)
        self._script = script
        self._digest = sha1(script, usedforsecurity=False).hexdigest().encode()
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, url: str, script: str, patience: float) -> Self:
        """Raises OSError, TimeoutError or RedisError."""
        pool = ConnectionPool.from_url(url, socket_timeout=patience, socket_connect_timeout=patience)
        connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()
        return cls(connection, script.encode())

    def close(self) -> None:
        self._transport.abort()

    async def run(self, argument: bytes) -> bytes:
        """Raises OSError when the connection is lost, RedisError when Valkey refuses."""
        try:
            return await self._command(b"EVALSHA", self._digest, b"0", argument)
        except RedisError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return await self._command(b"EVAL", self._script, b"0", argument)

    async def _command(self, *words: bytes) -> bytes:
        if self._transport.is_closing():
            raise ConnectionResetError("Valkey closed the connection.")
        self._answer = asyncio.get_running_loop().create_future()
        sent = b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
        self._transport.write(b"*%d\r\n%b" % (len(words), sent))
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """A text comes as `$3\\r\\nabc\\r\\n`, a refusal as `-WHY …\\r\\n`."""
        received = self._received = self._received + data
        line, ended, rest = received.partition(b"\r\n")
        if not ended or self._answer is None or self._answer.done():
            return
        if line[:1] == b"$":
            size = int(line[1:])
            if len(rest) < size + 2:
                return
            self._answer.set_result(rest[:size])
        else:
            self._answer.set_exception(RedisError(line[1:].decode("utf-8", "replace")))
        self._received = b""

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("Valkey closed the connection."))
