"""The web server's HTTP: uvicorn's, with bounds on requests that never end and the error contract for broken ones.

A request of `/v1` goes to the data plane as it is (`llmmesh.cycle`), every other one through ASGI.
"""

from asyncio import Event, TimerHandle, Transport
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from math import inf
from typing import Any
from urllib.parse import unquote

from httptools import parse_url
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from access.streams import stopping
from connections.alarm import Alarm
from gateway.envelope import Problem, new_request_id
from gateway.http import PLANE
from llmmesh.cycle import Cycle

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
    cycle: Any
    """Uvicorn's or ours."""
    left = False
    """Whether the client has gone."""
    on_leave: Callable[[], None] | None = None
    """What to do when it goes."""
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
        self.news = Event()
        """Of the body that is on its way to the data plane."""
        self._data_plane: Any = self.app_state.get(PLANE)
        self._kept = inf
        """Since when the connection waits for its next request."""
        self._alarm = Alarm(self.loop, self._kept_until, self.timeout_keep_alive_handler)
        self._expect(Part.HEAD)
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(Part.NOTHING)
        self._reads_on()
        self._alarm.stop()
        super().connection_lost(exc)
        self.left = True
        if self.on_leave is not None:
            self.on_leave()

    def data_received(self, data: bytes) -> None:
        self._kept = inf
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
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._coming, self._head = Part.HEAD, self._read

    def on_headers_complete(self) -> None:
        if len(self.url) > MAX_TARGET or len(self.headers) > MAX_HEADERS or self._head_is_large:
            raise ValueError("The request's head is too large.")  # the parser turns it into a 400
        self._coming = Part.BODY
        path = path_of(self.url)
        if self._data_plane is not None and path.lstrip("/").partition("/")[0] == "v1":
            self._take(path)
        else:
            self._take_as_asgi()
        if stopping.is_set():
            self.cycle.keep_alive = False  # its client shall ask another process next

    def _take(self, path: str) -> None:
        before = self.cycle
        self.cycle = Cycle(self, self.parser.get_method().decode(), path, self.parser.get_http_version())
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self._data_plane)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self._data_plane))

    def _take_as_asgi(self) -> None:
        """Uvicorn makes the scope before it knows the head; we, when we know that it is needed."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # which are the scope's
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._coming = Part.NOTHING
        super().on_message_complete()
        if self.cycle.response_complete:  # it was answered before it had come
            self._keep()

    def on_response_complete(self) -> None:
        """As uvicorn's, without a new timer for each answer on a kept connection."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._keep()

    def _keep(self) -> None:
        """Wait for the next request."""
        self._kept = self.loop.time()
        self._alarm.look_at(self._kept_until())

    def _kept_until(self) -> float:
        return self._kept + self.timeout_keep_alive

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("invalid_value", "This is not a valid HTTP request, or its head is too large."))

    def _refuse(self, problem: Problem) -> None:
        request_id = new_request_id()
        body = problem.body(request_id)
        told = {**problem.headers(), "x-request-id": request_id}
        lines = [f"{name}: {value}\r\n".encode() for name, value in told.items()]
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


@lru_cache(maxsize=256)
def path_of(target: bytes) -> str:
    """As ASGI tells it."""
    return unquote(parse_url(target).path.decode("ascii"))
