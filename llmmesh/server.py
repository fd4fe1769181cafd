"""The web server's HTTP: uvicorn's, with bounds on requests that never end and the error contract for broken ones."""

from asyncio import TimerHandle, Transport
from enum import Enum
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from access.streams import stopping
from gateway.asgi import LEAVING, Leaving
from gateway.envelope import Problem, new_request_id

HEAD_SECONDS, BODY_SECONDS = 10.0, 30.0
STRIDE, SLOWEST = 5.0, 2**10
"""A body that has not come after so many seconds must go on coming, with so many bytes in each."""
READING_SECONDS = 60.0
"""How long a client may take nothing of an answer that waits for it."""
MAX_HEADERS, MAX_HEAD = 100, 32 * 2**10
"""Headers, and bytes of all of them."""
MAX_TARGET = 8 * 2**10
"""Bytes of path and query."""
MAX_CONNECTIONS = 8192
"""Of one process; for each beyond that, one that waits for its next request is closed."""


class Part(Enum):
    """What of a request is still to come."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class Protocol(HttpToolsProtocol):
    _patience: TimerHandle | None = None
    _stalled: TimerHandle | None = None
    _coming = _timed = Part.NOTHING
    """What is on its way, and for what of it the time runs: only for what did not come with the first read."""
    _read = _head = 0
    """Bytes: of the last read, and of all since the request began."""
    _begun, _seen = 0.0, 0
    """Since when a body dawdles, and what had been read when it was last looked at."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # a server's is always a stream
        super().connection_made(transport)
        self._leaving = Leaving()
        self._expect(Part.HEAD)
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(Part.NOTHING)
        self._reads_on()
        super().connection_lost(exc)
        self._leaving.gone = True
        if self._leaving.then is not None:
            self._leaving.then()

    def data_received(self, data: bytes) -> None:
        self._read = len(data)
        self._head += self._read
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._coming is Part.HEAD and self._head > MAX_HEAD:
            self.send_400_response("The request's head is too large.")
        elif self._coming is not self._timed:
            self._expect(self._coming)

    def pause_writing(self) -> None:
        self._stalled = self.loop.call_later(READING_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._reads_on()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {LEAVING: self._leaving}  # type: ignore[dict-item]
        self._coming, self._head = Part.HEAD, self._read

    def on_headers_complete(self) -> None:
        if len(self.url) > MAX_TARGET or len(self.headers) > MAX_HEADERS or self._head_is_large:
            raise ValueError("The request's head is too large.")  # the parser turns it into a 400
        self._coming = Part.BODY
        super().on_headers_complete()
        if stopping.is_set():
            self.cycle.keep_alive = False  # its client shall ask another process next

    def on_message_complete(self) -> None:
        self._coming = Part.NOTHING
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("invalid_value", "This is not a valid HTTP request, or its head is too large."))

    def _refuse(self, problem: Problem) -> None:
        request_id = new_request_id()
        body = problem.body(request_id)
        told = [*problem.headers(), (b"x-request-id", request_id.encode())]
        lines = [b"%b: %b\r\n" % header for header in told]
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        self.transport.write(
            b"".join(
                [
                    head % (problem.status, HTTPStatus(problem.status).phrase.encode(), len(body)),
                    *lines,
                    b"connection: close\r\n\r\n",
                    body,
                ]
            )
        )
        self.transport.close()

    @property
    def _head_is_large(self) -> bool:
        """What was read may hold much of the body too."""
        return self._head > MAX_HEAD and sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD

    def _expect(self, part: Part) -> None:
        self._coming = self._timed = part
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if part is Part.HEAD:
            self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        elif part is Part.BODY:
            self._begun = self.loop.time()
            self._look_again()

    def _look_again(self) -> None:
        self._seen = self._head
        self._patience = self.loop.call_later(min(STRIDE, BODY_SECONDS), self._look)

    def _look(self) -> None:
        """Give a body up that takes too long or comes too slowly, unless it is we who do not read on."""
        late = self.loop.time() - self._begun >= BODY_SECONDS
        slow = self._head - self._seen < STRIDE * SLOWEST and not self.flow.read_paused
        if late or slow:
            self._give_up()
        else:
            self._look_again()

    def _give_up(self) -> None:
        """The body takes too long. Whoever waits for it learns that the client has gone."""
        if self.pipeline or self.cycle.response_started:
            self.transport.abort()
        else:
            self._refuse(Problem("request_timeout", "The body does not arrive, or too slowly."))

    def _make_room(self) -> None:
        """Close a connection on which nothing is being answered; if there is none, this one."""
        others = (one for one in self.connections if isinstance(one, Protocol) and one is not self)
        idle = (one for one in others if one.cycle is None or one.cycle.response_complete)
        next((one for one in idle if not one.transport.is_closing()), self).transport.close()

    def _reads_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
