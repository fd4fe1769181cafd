"""The data plane: bytes in and out of `/v1`. Everything it decides is decided in `gateway.pipeline`."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, TypeVar

from access import keys
from access.authentication import presented
from access.principal import Principal
from access.roles import Scope
from connections.interrupting import Interrupted, Interruptible
from connections.providers.calls import Mode
from gateway import admission, envelope, idempotency
from gateway.accepted import Accepted, Prompt
from gateway.envelope import Problem
from gateway.pipeline import Engine, engine
from gateway.streaming import Stream

T = TypeVar("T")
RequestScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

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
JSON = (b"content-type", b"application/json")
KINDS_OF_JSON = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
logger = logging.getLogger(__name__)


LEAVING = "llmmesh.leaving"
"""The scope's extension that holds a `Leaving`."""


class Leaving:
    """What the server is to do when a connection is lost."""

    __slots__ = ("gone", "then")

    def __init__(self) -> None:
        self.gone = False
        """Whether it is lost already."""
        self.then: Callable[[], None] | None = None


class ClientLeft(Exception):
    """Nobody is there to answer."""


async def application(scope: RequestScope, receive: Receive, send: Send) -> None:
    """Serve one request of `/v1`. Whatever goes wrong leaves in the error contract's shape."""
    exchange, door, task = Exchange(scope, receive, send), admission.calls, asyncio.current_task()
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

    def __init__(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.request_id = envelope.new_request_id()
        self.started = False
        self.accepted: Accepted | None = None
        """Once it is on its way to a model."""
        self.keys: list[tuple[str, str]] = []
        self.names: list[bytes] = []
        """What the caller calls this request; see `gateway.idempotency`."""
        self.kind = self.encoding = b""
        """Of the body's content."""
        self.length = 0

    async def serve(self) -> None:
        path, method = self.scope["path"], self.scope["method"]
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
        for name, value in self.scope["headers"]:
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
        if self.length > envelope.MAX_BODY:
            raise Problem("body_too_large", f"The body is larger than {envelope.MAX_BODY} bytes.")
        parts, size = [], 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > envelope.MAX_BODY:
                raise Problem("body_too_large", f"The body is larger than {envelope.MAX_BODY} bytes.")
            if not message.get("more_body"):
                return b"".join(parts) if len(parts) > 1 else parts[0]

    # --- what goes out

    async def _generate(self, running: Engine, principal: Principal, mode: Mode) -> None:
        prompt = Prompt(principal, mode, await self._body(), "v1", self.request_id)
        if not self.names:
            await self._ask(running, prompt)
            return
        key = idempotency.checked(self.names)
        async with idempotency.once(key, self.scope["path"], prompt, self.send) as send:
            if send is not None:
                self.send = send
                await self._ask(running, prompt)

    async def _ask(self, running: Engine, prompt: Prompt) -> None:
        accepted = self.accepted = await running.accept(prompt)
        if accepted.call.stream:
            await self._until_client_leaves(self._stream(running.open(accepted)))
            return
        answered = await self._until_client_leaves(running.answer(accepted))
        told = [JSON, (b"content-length", str(len(answered.body)).encode()), *_encoded(answered.headers)]
        await self._start(200, told, answered.adjusted)
        await self.send({"type": "http.response.body", "body": answered.body})

    async def _until_client_leaves(self, work: Awaitable[T]) -> T:
        """Await `work`; it is cancelled, and so is the upstream call, as soon as the client has gone."""
        leaving = self.scope["extensions"][LEAVING]
        try:
            with Interruptible() as answering:
                leaving.then = answering.interrupt
                if leaving.gone:  # while the call was let in
                    answering.interrupt()
                return await work
        except Interrupted:
            raise ClientLeft from None
        finally:
            leaving.then = None

    async def _stream(self, stream: Stream) -> None:
        async with stream:
            first = await self._first(stream)
            stream.begun = True
            await self._start(200, [*STREAM_HEADERS, *_encoded(stream.headers)], stream.adjusted)
            heartbeat = asyncio.create_task(self._beat(HEARTBEAT_SECONDS if first.done() else 0))
            try:
                await self._write(await first)
                while chunks := await stream.batch():
                    await self._write(chunks)
            finally:
                heartbeat.cancel()
        await self.send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _first(self, stream: Stream) -> "asyncio.Future[list[bytes]]":
        """The first chunks. An early failure gets its own status; a model that thinks for long gets a heartbeat."""
        first = asyncio.ensure_future(stream.batch())
        try:
            await asyncio.wait({first}, timeout=HEARTBEAT_SECONDS)
        except asyncio.CancelledError:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            raise
        if first.done():
            first.result()
        return first

    async def _write(self, chunks: list[bytes]) -> None:
        if chunks:
            body = b"".join([b"data: %b\n\n" % chunk for chunk in chunks])
            while len(body) > MAX_WRITE:
                await self.send({"type": "http.response.body", "body": body[:MAX_WRITE], "more_body": True})
                body = body[MAX_WRITE:]
            await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def _beat(self, pause: float) -> None:
        """Comments between events, so that nobody on the way takes a thinking model for a dead line."""
        while True:
            await asyncio.sleep(pause)
            await self.send({"type": "http.response.body", "body": envelope.HEARTBEAT, "more_body": True})
            pause = HEARTBEAT_SECONDS

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
        await self._start(200, [JSON, (b"content-length", str(len(body)).encode())])
        await self.send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]], adjusted: list[str] | None = None) -> None:
        self.started = True
        told = [(b"x-request-id", self.request_id.encode())]
        if adjusted:
            told.append((b"x-mesh-adjusted", _as_header("; ".join(adjusted))))
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, *told]})

    async def refuse(self, problem: Problem) -> None:
        """The error contract's answer; inside a stream its last event, and no `[DONE]` after it."""
        body = problem.body(self.request_id)
        if self.started:
            await self.send({"type": "http.response.body", "body": b"event: error\ndata: %b\n\n" % body})
            return
        length = (b"content-length", str(len(body)).encode())
        told = _encoded(self.accepted.told) if self.accepted else []
        await self._start(problem.status, [JSON, length, *problem.headers(), *told])
        await self.send({"type": "http.response.body", "body": body})


def _as_header(text: str) -> bytes:
    """What a header can carry of a text."""
    if text.isascii() and text.isprintable() and len(text) <= MAX_ADJUSTED:
        return text.encode()
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_ADJUSTED].encode("ascii", "replace")


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(_name(name), _as_header(value)) for name, value in headers.items()]


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return name.encode()
