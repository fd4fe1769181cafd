"""The HTTP side of an engine: OpenAI's routes on one port, for whoever has the key."""

import hmac
import json
import select
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from connections.engines.shapes import JSON, Asked, Backend
from connections.engines.told import Refused

KINDS = {"/v1/chat/completions": "chat", "/v1/completions": "completion", "/v1/embeddings": "embedding"}
MAX_BODY = 64 * 2**20
WAITING = 64
"""So many requests may wait for their turn; more are refused."""
LOOK_EVERY = 0.25
"""Seconds after which a waiting request looks whether its client is still there."""
QUIET_SECONDS = 120
"""A connection that says nothing for so long is closed."""


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class EngineServer(ThreadingHTTPServer):
    """Listens from the start; as long as no model is there, it says how far loading is."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, key: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self.key = key
        self.percent = 0
        self._backend: Backend | None = None
        self._turns = threading.Semaphore(0)
        self._waiting = threading.Semaphore(WAITING)

    @property
    def backend(self) -> Backend | None:
        return self._backend

    def open_with(self, backend: Backend) -> None:
        self._turns = threading.Semaphore(backend.at_once)
        self._backend = backend

    @contextmanager
    def turn(self, left: Callable[[], bool]) -> Iterator[None]:
        """Wait until this request may run."""
        if not self._waiting.acquire(blocking=False):
            raise Busy
        try:
            while not self._turns.acquire(timeout=LOOK_EVERY):
                if left():
                    raise ClientLeft
        finally:
            self._waiting.release()
        try:
            yield
        finally:
            self._turns.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is nothing to tell of; anything else is printed and goes to the log."""
        traceback.print_exc()


class Busy(Exception):
    """Too many requests wait already."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = QUIET_SECONDS
    server: EngineServer

    def do_GET(self) -> None:
        if self._refused():
            return
        backend = self.server.backend
        if backend is None:
            self._say_loading()
        elif self.path == "/health":
            self._send(200, {"status": "ok"})
        elif self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"object": "model", **one} for one in backend.models()]})
        else:
            self._fail(404, "There is no such route.", "not_found_error")

    def do_POST(self) -> None:
        body = self._body()
        if body is None or self._refused():
            return
        backend, kind = self.server.backend, KINDS.get(self.path)
        if kind is None:
            self._fail(404, "There is no such route.", "not_found_error")
        elif backend is None:
            self._say_loading()
        else:
            self._answer(backend, kind, body)

    def _answer(self, backend: Backend, kind: str, body: bytes) -> None:
        try:
            asked = Asked(kind, _decoded(body), self._left)
            _check_model(backend, asked.body)
            with self.server.turn(self._left):
                if asked.body.get("stream"):
                    self._stream(backend.stream(asked), asked)
                else:
                    self._send(200, backend.answer(asked))
        except (ClientLeft, ConnectionError):
            self.close_connection = True
        except Refused as refusal:
            self._fail(400, str(refusal), refusal.code)
        except Busy:
            self._fail(503, "Too many requests wait for this engine.", "overloaded_error")
        except Exception as error:
            traceback.print_exc()
            self._fail(500, f"The model failed: {type(error).__name__}: {error}"[:500], "server_error")

    def _stream(self, chunks: Iterator[JSON], asked: Asked) -> None:
        """Begin only with the first chunk: what goes wrong before it gets a status of its own."""
        first = next(chunks, None)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for chunk in [] if first is None else [first]:
                self._event(json.dumps(chunk))
            for chunk in chunks:
                self._event(json.dumps(chunk))
            self._event("[DONE]")
        except (ClientLeft, ConnectionError):
            raise ConnectionAbortedError from None
        except Exception as error:
            traceback.print_exc()
            failed = {"message": f"The model failed: {type(error).__name__}: {error}"[:500], "type": "server_error"}
            self._event(json.dumps({"error": failed}))
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.flush()

    # --- the request ---

    def _body(self) -> bytes | None:
        """The whole body; None: it was refused."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self._fail(411, "The length of the body must be told.", "invalid_request_error")
        elif int(length) > MAX_BODY:
            self._fail(413, f"A body may have at most {MAX_BODY} bytes.", "invalid_request_error")
        else:
            return self.rfile.read(int(length))
        self.close_connection = True
        return None

    def _refused(self) -> bool:
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        if hmac.compare_digest(given, f"Bearer {self.server.key}".encode()):
            return False
        self._fail(401, "The key is wrong.", "authentication_error")
        return True

    def _left(self) -> bool:
        """Whether the client has closed its side."""
        with suppress(OSError, ValueError):
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        return True

    # --- the answer ---

    def _say_loading(self) -> None:
        self._fail(503, f"The model is being loaded: {self.server.percent} %.", "unavailable_error")

    def _fail(self, status: int, message: str, kind: str) -> None:
        with suppress(ConnectionError):
            self._send(status, {"error": {"code": status, "message": message, "type": kind}})

    def _send(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Stay silent: the gateway has a record of every call."""


def _decoded(body: bytes) -> JSON:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("The body is no JSON.") from None
    if not isinstance(found, dict):
        raise Refused("The body must be a JSON object.")
    return found


def _check_model(backend: Backend, body: JSON) -> None:
    names = [one["id"] for one in backend.models()]
    if body.get("model") not in names:
        raise Refused(f"There is no model {body.get('model')!r} here, only {', '.join(names)}.", "model_not_found")
