"""The data plane: bytes in and out of `/v1`. Everything it decides is decided in `gateway.pipeline`."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from access import keys
from access.authentication import presented
from access.principal import Principal
from access.roles import Scope
from connections.providers.calls import Mode
from gateway import envelope
from gateway.envelope import Problem
from gateway.pipeline import Accepted, Engine, Prompt, Stream, engine

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
MAX_ADJUSTED = 4_000
"""Characters of `x-mesh-adjusted`; the usage row has them all."""
JSON = (b"content-type", b"application/json")
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
logger = logging.getLogger(__name__)


class ClientLeft(Exception):
    """Nobody is there to answer."""


async def application(scope: RequestScope, receive: Receive, send: Send) -> None:
    """Serve one request of `/v1`. Whatever goes wrong leaves in the error contract's shape."""
    exchange = Exchange(scope, receive, send)
    try:
        await exchange.serve()
    except Problem as problem:
        await exchange.refuse(problem)
    except ClientLeft:
        pass
    except Exception:
        logger.exception("Request %s failed inside", exchange.request_id)
        await exchange.refuse(Problem("internal_error", "Something went wrong inside; the request id tells where."))


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.request_id = envelope.new_request_id()
        self.started = False
        self.accepted: Accepted | None = None
        """Once it is on its way to a model."""

    async def serve(self) -> None:
        path, method = self.scope["path"], self.scope["method"]
        one_model = path.startswith(f"{MODELS}/") and path != f"{MODELS}/"
        if path not in MODES and path != MODELS and not one_model:
            raise Problem("not_found", "There is no such address under /v1.")
        if method != ("POST" if path in MODES else "GET"):
            raise Problem("method_not_allowed", f"This address does not take {method[:20]}.")
        self._check_head()
        running = await engine()
        principal = self._principal(running)
        if path in MODES:
            await self._generate(running, principal, MODES[path])
        else:
            await self._list_models(running, principal, path.removeprefix(MODELS).removeprefix("/"))

    # --- what came in

    def _check_head(self) -> None:
        headers = self.scope["headers"]
        size = sum(len(name) + len(value) for name, value in headers)
        if len(headers) > envelope.MAX_HEADERS or size > envelope.MAX_HEADER_BYTES:
            raise Problem("invalid_value", "The request has too many or too large headers.")
        if len(self.scope.get("raw_path") or b"") + len(self.scope["query_string"]) > envelope.MAX_TARGET:
            raise Problem("invalid_value", "The address is too long.")

    def _principal(self, running: Engine) -> Principal:
        names = {b"authorization", b"x-api-key"}
        given = [(name.decode(), value.decode("latin-1")) for name, value in self.scope["headers"] if name in names]
        try:
            key = presented(given)
        except ValueError as error:
            raise Problem("invalid_value", str(error)) from error
        entry = running.snapshot.keys.get(keys.digest(key)) if key else None
        if entry is None:
            raise Problem("invalid_api_key", "Send a valid API key as 'Authorization: Bearer mesh_…'.")
        if entry.expired:
            raise Problem("expired_api_key", "This API key has expired. Create a new one.")
        return entry.principal

    async def _body(self) -> bytes:
        kind, encoding, length = self._content()
        if kind not in {"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}:
            raise Problem("unsupported_encoding", "Send the body as 'Content-Type: application/json' in UTF-8.")
        if encoding not in {"", "identity"}:
            raise Problem("unsupported_encoding", "Send the body without Content-Encoding.")
        if length > envelope.MAX_BODY:
            raise Problem("body_too_large", f"The body is larger than {envelope.MAX_BODY} bytes.")
        try:
            async with asyncio.timeout(envelope.BODY_SECONDS):
                return await self._read()
        except TimeoutError as error:
            raise Problem("request_timeout", f"The body did not arrive within {envelope.BODY_SECONDS:g} s.") from error

    def _content(self) -> tuple[str, str, int]:
        kind = encoding = length = b""
        for name, value in self.scope["headers"]:
            if name == b"content-type":
                kind = value
            elif name == b"content-encoding":
                encoding = value
            elif name == b"content-length":
                length = value
        size = int(length) if length.isdigit() else 0
        return kind.decode("latin-1").strip().lower(), encoding.decode("latin-1").strip().lower(), size

    async def _read(self) -> bytes:
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
                return b"".join(parts)

    # --- what goes out

    async def _generate(self, running: Engine, principal: Principal, mode: Mode) -> None:
        prompt = Prompt(principal, mode, await self._body(), "v1", self.request_id)
        accepted = self.accepted = await running.accept(prompt)
        if accepted.call.stream:
            await self._until_client_leaves(self._stream(running.open(accepted)))
            return
        answered = await self._until_client_leaves(running.answer(accepted))
        told = [JSON, (b"content-length", str(len(answered.body)).encode()), *_encoded(answered.headers)]
        await self._start(200, told, answered.adjusted)
        await self.send({"type": "http.response.body", "body": answered.body})

    async def _until_client_leaves(self, work: Any) -> Any:
        """Await `work`; cancel it, and so the upstream call, as soon as the client has gone."""
        task = asyncio.ensure_future(work)
        watch = asyncio.create_task(self._cancel_when_left(task))
        try:
            return await task
        except asyncio.CancelledError:
            if watch.done() and not watch.cancelled():
                raise ClientLeft from None
            task.cancel()
            raise
        finally:
            watch.cancel()

    async def _cancel_when_left(self, task: "asyncio.Future[Any]") -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    async def _stream(self, stream: Stream) -> None:
        async with stream:
            batches = stream.batches()
            first = await self._first(batches)
            stream.begun = True
            await self._start(200, [*STREAM_HEADERS, *_encoded(stream.headers)], stream.adjusted)
            heartbeat = asyncio.create_task(self._beat(HEARTBEAT_SECONDS if first.done() else 0))
            try:
                await self._write(await first)
                async for chunks in batches:
                    await self._write(chunks)
            finally:
                heartbeat.cancel()
        await self.send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _first(self, batches: AsyncIterator[list[bytes]]) -> "asyncio.Future[list[bytes]]":
        """The first chunks. An early failure gets its own status; a model that thinks for long gets a heartbeat."""
        first = asyncio.ensure_future(anext(batches, []))
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
            await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def _beat(self, pause: float) -> None:
        """Comments between events, so that nobody on the way takes a thinking model for a dead line."""
        while True:
            await asyncio.sleep(pause)
            await self.send({"type": "http.response.body", "body": b": keep-alive\n\n", "more_body": True})
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
    return "".join(letter if letter.isprintable() else " " for letter in text)[:MAX_ADJUSTED].encode("ascii", "replace")


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), _as_header(value)) for name, value in headers.items()]
