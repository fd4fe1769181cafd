"""The data plane: bytes in and out of `/v1`. Everything it decides is decided in `gateway.pipeline`.

A server gives it a `Request`, which is the way back to the client too; it knows nothing else of servers.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Protocol, Self

from access import keys
from access.authentication import presented
from access.principal import Principal
from access.roles import Scope
from connections.interrupting import Interruptible
from connections.providers.calls import Mode
from gateway import admission, envelope, idempotency
from gateway.accepted import Accepted, Prompt
from gateway.envelope import Problem
from gateway.pipeline import Engine, engine
from gateway.sinks import Sink
from gateway.streaming import Stream

MODES = {
    "/v1/chat/completions": Mode.CHAT,
    "/v1/completions": Mode.COMPLETION,
    "/v1/embeddings": Mode.EMBEDDING,
    "/v1/images/generations": Mode.IMAGE,
    "/v1/rerank": Mode.RERANK,
}
MODELS = "/v1/models"
HEARTBEAT_SECONDS = 15.0
MAX_WRITE = 128 * 2**10
"""Bytes of a stream that are written at once: a slow client lets more of them wait with the provider."""
MAX_ADJUSTED = 4_000
"""Characters of `x-mesh-adjusted`; the usage row has them all."""
KINDS_OF_JSON = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
JSON = "content-type: application/json\r\n"
EVENTS = "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
DONE = b"data: [DONE]\n\n"
PLANE = "llmmesh.v1"
"""What the server's state calls `serve`, in an application that answers `/v1`."""
logger = logging.getLogger(__name__)


class ClientLeft(Exception):
    """Nobody is there to answer."""


class Request(Sink, Protocol):
    """One request, and where its answer goes."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    """Names in lower case."""
    keep_alive: bool
    """Whether its client may ask again on the same connection."""

    async def read(self, most: int) -> bytes:
        """The whole body, or more than `most` bytes of it. Raises ClientLeft."""

    def on_leave(self, then: Callable[[], None] | None) -> None:
        """What to do when the client goes; at once if it has gone."""


class Attended(Interruptible):
    """A context that ends with ClientLeft, and so what is awaited in it, as soon as the client has gone."""

    __slots__ = ("_request",)
    ending = ClientLeft

    def __init__(self, request: Request) -> None:
        self._request = request

    def __enter__(self) -> Self:
        super().__enter__()
        self._request.on_leave(self.interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._request.on_leave(None)
        super().__exit__(kind, error, trace)


async def serve(request: Request) -> None:
    """Answer one request of `/v1`. Whatever goes wrong leaves in the error contract's shape."""
    exchange, door, task = Exchange(request), admission.calls, asyncio.current_task()
    if len(door.inside) >= door.room:
        await exchange.refuse(door.refusal)
        return
    door.inside.add(task)
    try:
        await exchange.serve()
    except Problem as problem:
        await exchange.refuse(problem)
    except ClientLeft:
        pass
    except asyncio.CancelledError:  # the server's end, for which this call has taken too long
        await exchange.refuse(admission.STOPPING)
    except Exception:
        logger.exception("Request %s failed inside", exchange.request_id)
        await exchange.refuse(Problem("internal_error", "Something went wrong inside; the request id tells where."))
    finally:
        door.inside.discard(task)


class Exchange:
    """One request and its answer."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.sink: Sink = request
        self.request_id = envelope.new_request_id()
        self.started = False
        """Whether a stream has begun, in which a failure can only be an event."""
        self.accepted: Accepted | None = None
        """Once it is on its way to a model."""
        self.heartbeat: asyncio.TimerHandle | None = None
        self.keys: list[tuple[str, str]] = []
        self.names: list[bytes] = []
        """What the caller calls this request; see `gateway.idempotency`."""
        self.kind = self.encoding = b""
        """Of the body's content."""
        self.length = 0

    async def serve(self) -> None:
        path, method = self.request.path, self.request.method
        mode = MODES.get(path)
        one_model = path.startswith(f"{MODELS}/") and path != f"{MODELS}/"
        if mode is None and path != MODELS and not one_model:
            raise Problem("not_found", "There is no such address under /v1.")
        if method != (allowed := "GET" if mode is None else "POST"):
            raise Problem.wrong_method(method, allowed)
        self._read_head()
        running = await engine()
        principal = self._principal(running)
        if mode is not None:
            await self._generate(running, principal, mode)
        else:
            await self._list_models(running, principal, path.removeprefix(MODELS).removeprefix("/"))

    # --- what came in

    def _read_head(self) -> None:
        """Whatever of the headers counts, in one go."""
        for name, value in self.request.headers:
            if name == b"authorization" or name == b"x-api-key":
                self.keys.append((name.decode(), value.decode("latin-1")))
            elif name == b"content-type":
                self.kind = value
            elif name == b"content-encoding":
                self.encoding = value
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() else 0
            elif name == idempotency.NAME:
                self.names.append(value)

    def _principal(self, running: Engine) -> Principal:
        try:
            key = presented(self.keys)
        except ValueError as error:
            raise Problem("invalid_value", str(error)) from error
        entry = running.snapshot.keys.get(keys.digest(key)) if key else None
        if entry is None:
            raise Problem("invalid_api_key", "Send a valid API key as 'Authorization: Bearer mesh_…'.")
        if entry.expired:
            raise Problem("expired_api_key", "This API key has expired. Create a new one.")
        return entry.principal

    async def _body(self) -> bytes:
        if self.kind not in KINDS_OF_JSON and self.kind.strip().lower() not in KINDS_OF_JSON:
            raise Problem("unsupported_encoding", "Send the body as 'Content-Type: application/json' in UTF-8.")
        if self.encoding.strip().lower() not in {b"", b"identity"}:
            raise Problem("unsupported_encoding", "Send the body without Content-Encoding.")
        body = await self.request.read(envelope.MAX_BODY) if self.length <= envelope.MAX_BODY else None
        if body is None or len(body) > envelope.MAX_BODY:
            raise Problem("body_too_large", f"The body is larger than {envelope.MAX_BODY} bytes.")
        return body

    # --- what goes out

    async def _generate(self, running: Engine, principal: Principal, mode: Mode) -> None:
        prompt = Prompt(principal, mode, await self._body(), "v1", self.request_id)
        if not self.names:
            await self._ask(running, prompt)
            return
        key = idempotency.checked(self.names)
        async with idempotency.once(key, self.request.path, prompt, self.sink) as sink:
            if sink is not None:
                self.sink = sink
                await self._ask(running, prompt)

    async def _ask(self, running: Engine, prompt: Prompt) -> None:
        accepted = self.accepted = await running.accept(prompt)
        if accepted.call.stream:
            with Attended(self.request):
                await self._stream(running.open(accepted))
            return
        with Attended(self.request):
            answered = await running.answer(accepted)
        await self.sink.answer(200, self._head(JSON, answered.headers, answered.adjusted), answered.body)

    async def _stream(self, stream: Stream) -> None:
        async with stream:
            self._beat_later(stream)
            try:
                while chunks := await stream.batch():
                    self._begin(stream)
                    await self._write(chunks)
            finally:
                self._beat_no_more()
            self._begin(stream)
        await self.sink.end(DONE)

    def _begin(self, stream: Stream) -> None:
        if not self.started:
            self.started = stream.begun = True
            self.sink.begin(200, self._head(EVENTS, stream.headers, stream.adjusted))

    async def _write(self, chunks: list[bytes]) -> None:
        body = b"".join([b"data: %b\n\n" % chunk for chunk in chunks])
        for start in range(0, len(body), MAX_WRITE):
            self.sink.write(body[start : start + MAX_WRITE])
            if self.sink.full:
                await self.sink.room()

    def _beat_later(self, stream: Stream) -> None:
        self.heartbeat = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self._beat, stream)

    def _beat(self, stream: Stream) -> None:
        """A comment between events, so that nobody on the way takes a thinking model for a dead line.

        Until the first one, a failure gets a status of its own.
        """
        self._begin(stream)
        if not self.sink.full:
            self.sink.write(envelope.HEARTBEAT)
        self._beat_later(stream)

    def _beat_no_more(self) -> None:
        if self.heartbeat is not None:
            self.heartbeat.cancel()

    async def _list_models(self, running: Engine, principal: Principal, wanted: str) -> None:
        if not {Scope.GENERATE, Scope.READ} & principal.scopes:
            raise Problem("scope_denied", "This API key may neither ask nor read.")
        found = [
            {"id": entry.public_id, "object": "model", "created": entry.created, "owned_by": entry.connection,
             "mode": entry.mode}
            for entry in running.snapshot.allowed(principal)
        ]  # fmt: skip
        found += [
            {"id": route.name, "object": "model", "created": route.created, "owned_by": "route",
             "mode": route.open_to(principal)[0].model.mode}
            for route in running.snapshot.allowed_routes(principal)
        ]  # fmt: skip
        if wanted:
            found = [model for model in found if model["id"] == wanted]
            if not found:
                raise Problem.no_such_model()
        body = json.dumps(found[0] if wanted else {"object": "list", "data": found}).encode()
        await self.sink.answer(200, self._head(JSON), body)

    async def refuse(self, problem: Problem) -> None:
        """The error contract's answer; inside a stream its last event, and no `[DONE]` after it."""
        body = problem.body(self.request_id)
        if self.started:
            await self.sink.end(b"event: error\ndata: %b\n\n" % body)
            return
        if problem.ends_connection:
            self.request.keep_alive = False
        told = {**problem.headers(), **(self.accepted.told if self.accepted else {})}
        await self.sink.answer(problem.status, self._head(JSON, told), body)

    def _head(self, kind: str, told: Mapping[str, str] = MappingProxyType({}), adjusted: Sequence[str] = ()) -> bytes:
        """The lines of an answer's head."""
        lines = [f"{name}: {_as_header(value)}\r\n" for name, value in told.items()]
        if adjusted:
            lines.append(f"x-mesh-adjusted: {_as_header('; '.join(adjusted))}\r\n")
        return f"{kind}{''.join(lines)}x-request-id: {self.request_id}\r\n".encode()


def _as_header(text: str) -> str:
    """What a header can carry of a text."""
    if text.isascii() and text.isprintable() and len(text) <= MAX_ADJUSTED:
        return text
    legible = "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_ADJUSTED]
    return legible.encode("ascii", "replace").decode()
