"""The web server's HTTP: uvicorn's, with bounds on heads that never end and the error contract for broken ones."""

from asyncio import TimerHandle, Transport

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.envelope import Problem, new_request_id

HEAD_SECONDS = 10.0
READING_SECONDS = 60.0
"""How long a client may take nothing of an answer that waits for it."""
MAX_HEAD = 64 * 2**10
"""Bytes of all header lines, here; `/v1` allows less."""


class Protocol(HttpToolsProtocol):
    _patience: TimerHandle | None = None
    _stalled: TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # a server's is always a stream
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        self._reads_on()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._stalled = self.loop.call_later(READING_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._reads_on()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        if self._head > MAX_HEAD:
            raise ValueError("The request's headers are too large.")  # the parser turns it into a 400
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        request_id = new_request_id()
        body = Problem("invalid_value", "This is not a valid HTTP request.").body(request_id)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        head += f"x-request-id: {request_id}\r\nx-should-retry: false\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _expect_head(self) -> None:
        self._head_came()
        self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _reads_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()

    def _head_came(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
