"""One request of `/v1` and its answer on a connection of uvicorn's: no ASGI, and one write for a whole answer."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.http import ClientLeft

if TYPE_CHECKING:
    from llmmesh.server import Protocol


class Cycle:
    """Stands where uvicorn's own cycle does, so it has the names that uvicorn's protocol looks at."""

    __slots__ = (
        *("method", "path", "headers", "keep_alive", "body", "more_body", "message_event"),
        *("disconnected", "response_started", "response_complete"),
        *("_protocol", "_transport", "_flow", "_head", "_chunked", "_continues"),
    )

    def __init__(self, protocol: "Protocol", method: str, path: str, version: str) -> None:
        self.method, self.path, self.headers = method, path, protocol.headers
        self.keep_alive = version != "1.0" and protocol.parser.should_keep_alive()
        self.body, self.more_body, self.message_event = bytearray(), True, protocol.news
        self.disconnected = self.response_started = self.response_complete = False
        self._protocol, self._transport, self._flow = protocol, protocol.transport, protocol.flow
        self._head = b""
        """Of a stream's answer, until its first bytes go out."""
        self._chunked = version != "1.0"
        """Whether a stream can tell its end otherwise than by the connection's."""
        self._continues = protocol.expect_100_continue
        """Whether the client sends the body only when it is told to go on."""

    async def run_asgi(self, serve: Callable[["Cycle"], Coroutine[Any, Any, None]]) -> None:
        try:
            await serve(self)
        finally:
            if not self.response_complete:
                self._transport.close()

    def on_leave(self, then: Callable[[], None] | None) -> None:
        self._protocol.on_leave = then
        if then is not None and self._protocol.left:
            then()

    async def read(self, most: int) -> bytes:
        while self.more_body and len(self.body) <= most:
            if self._continues and not self._transport.is_closing():
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._continues = False
            self._flow.resume_reading()
            self.message_event.clear()
            await self.message_event.wait()
            if self.disconnected:
                raise ClientLeft
        return bytes(self.body)

    @property
    def full(self) -> bool:
        return self._flow.write_paused

    async def room(self) -> None:
        await self._flow.drain()

    async def answer(self, status: int, lines: bytes, body: bytes) -> None:
        if self.full:
            await self.room()
        length = b"content-length: %d\r\n" % len(body)
        self._send(self._started(status, lines, length) + (b"" if self.method == "HEAD" else body))
        self._finish()

    def begin(self, status: int, lines: bytes) -> None:
        self._head = self._started(status, lines, b"transfer-encoding: chunked\r\n" if self._chunked else b"")

    def write(self, data: bytes) -> None:
        self._send(b"%b%x\r\n%b\r\n" % (self._head, len(data), data) if self._chunked else self._head + data)
        self._head = b""

    async def end(self, data: bytes) -> None:
        if self.full:
            await self.room()
        last = b"%b%x\r\n%b\r\n0\r\n\r\n" % (self._head, len(data), data) if self._chunked else self._head + data
        self._send(last)
        self._finish()

    def _started(self, status: int, lines: bytes, length: bytes) -> bytes:
        self.response_started = True
        usual = [b"%b: %b\r\n" % header for header in self._protocol.server_state.default_headers]
        closing = b"" if self.keep_alive else b"connection: close\r\n"
        return b"".join([STATUS_LINE[status], *usual, lines, length, closing, b"\r\n"])

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _finish(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._transport.close()
        self._protocol.on_response_complete()
