"""The fault upstream: one server on loopback, in a thread of its own, that speaks each provider's dialect.

The dialect is chosen by the path's first part, the behaviour by a script:

    upstream.script(Fault.status(503), Fault.answer(text="at last"))
    provider(base_url=upstream.url("openai"), api_key=upstream.key)
    assert upstream.requests[0].json["model"] == "gpt-4o-mini"

It is the judge: it keeps every byte it got, the tokens it charged per call, and when its client left.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Coroutine
from http.client import responses
from itertools import count
from typing import Any

from tests.upstream.anthropic import Anthropic
from tests.upstream.azure import Azure
from tests.upstream.bedrock import Bedrock
from tests.upstream.clarifai import Clarifai
from tests.upstream.cohere import Cohere
from tests.upstream.compatible import Compatible
from tests.upstream.databricks import Databricks
from tests.upstream.faults import MEBIBYTE, Fault
from tests.upstream.google import Gemini, Vertex
from tests.upstream.google_identity import GoogleIdentity
from tests.upstream.llamacpp import LlamaCpp
from tests.upstream.meta_llama import MetaLlama
from tests.upstream.mistral import Mistral
from tests.upstream.oauth import Guarded, OAuth
from tests.upstream.openai import OpenAI, Refused
from tests.upstream.processes import Processes
from tests.upstream.replicate import Replicate
from tests.upstream.responses import Responses
from tests.upstream.sagemaker import SageMaker
from tests.upstream.tgi import TGI
from tests.upstream.wire import Bill, Event, Plan, Request, Stream, Whole

KEY = "sk-upstream-canary-7Qe2ZkV9tXw4LmB1"
DIALECTS = {"openai": OpenAI(), "compatible": Compatible(), "anthropic": Anthropic(), "llamacpp": LlamaCpp()}
DIALECTS |= {"oauth": OAuth(), "guarded": Guarded(), "azure": Azure()}
DIALECTS |= {"databricks": Databricks(), "responses": Responses()}
DIALECTS |= {"replicate": Replicate(), "tgi": TGI()}
DIALECTS |= {"clarifai": Clarifai(), "meta_llama": MetaLlama(), "monsterapi": Processes()}
DIALECTS |= {"google_identity": GoogleIdentity(), "gemini": Gemini(), "vertex": Vertex(), "mistral": Mistral()}
DIALECTS |= {"cohere": Cohere()}
DIALECTS |= {"bedrock": Bedrock()}
DIALECTS |= {"sagemaker": SageMaker()}
FILLER = b"a" * MEBIBYTE


class Ended(Exception):
    """Nothing more is to be sent: the client left, or the dialect refused the request."""


class Connection(asyncio.StreamReaderProtocol):
    """A stream protocol that also says at once when its client has left."""

    def __init__(self, upstream: "Upstream") -> None:
        self.left = asyncio.Event()
        super().__init__(asyncio.StreamReader(), lambda reader, writer: upstream.serve(self, reader, writer))

    def eof_received(self) -> bool:
        self.left.set()
        return super().eof_received() or False

    def connection_lost(self, exc: Exception | None) -> None:
        self.left.set()
        super().connection_lost(exc)


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, upstream: "Upstream", request: Request, plan: Plan, peer: Connection, writer: Any) -> None:
        self.upstream, self.request, self.plan, self._peer, self._writer = upstream, request, plan, peer, writer
        self.closes = False
        """Whether the connection ends with this answer."""

    # --- bytes

    async def send(self, data: bytes) -> None:
        if self._peer.left.is_set():
            raise Ended
        self._writer.write(data)
        self.request.bytes_sent += len(data)
        await self._writer.drain()

    async def pause(self, seconds: float) -> None:
        """Wait, but notice at once when the client leaves."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._peer.left.wait(), seconds)
        if self._peer.left.is_set():
            raise Ended

    async def head(self, status: int, headers: dict[str, str]) -> None:
        lines = [
            f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}",
            *(f"{name}: {value}" for name, value in headers.items()),
            "",
            "",
        ]
        await self.send("\r\n".join(lines).encode())

    async def whole(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        await self.head(
            status, {"content-type": "application/json"} | (headers or {}) | {"content-length": str(len(body))}
        )
        await self.send(body)

    async def chunk(self, data: bytes) -> None:
        """One piece of a chunked body; an empty one ends it."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def filler(self, size: int) -> None:
        for _ in range(size // MEBIBYTE):
            await self.chunk(FILLER)

    def reset(self) -> None:
        """Cut the connection with RST."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self.closes = True

    # --- answers

    def prepared(self) -> Whole | Stream:
        """What the dialect answers to this request."""
        dialect = DIALECTS.get(self.request.dialect)
        if dialect is None:
            return Whole(404, b'{"error": {"message": "No such dialect."}}')
        return dialect.handle(self.request, self.plan, self.upstream.key)

    def whole_body(self) -> bytes:
        prepared = self.prepared()
        return prepared.body if isinstance(prepared, Whole) else b'{"choices": ["a whole answer that is'

    def refusal(self, status: int, message: str) -> bytes:
        dialect = DIALECTS.get(self.request.dialect, DIALECTS["openai"])
        return dialect.refusal(Refused(status, message)).body

    async def answer(self, prepared: Whole | Stream | None = None) -> None:
        """The proper answer, whole or streamed."""
        prepared = prepared or self.prepared()
        if isinstance(prepared, Whole):
            if self.plan.delay:
                await self.pause(self.plan.delay)
            if prepared.bill:
                self.charge(prepared.bill)
            await self.whole(prepared.status, prepared.body, prepared.headers)
        else:
            await self.stream_head(prepared)
            await self.events(prepared, prepared.events)
            await self.chunk(b"")
        self.request.told = self.plan.tells

    async def stream_head(self, stream: Stream | None = None) -> Stream:
        """Begin the stream; a request that the dialect refuses gets its refusal and nothing else."""
        prepared = stream or self.prepared()
        if isinstance(prepared, Whole):
            await self.whole(prepared.status, prepared.body, prepared.headers)
            raise Ended
        self.charge(prepared.bill)
        kind = {"content-type": prepared.content_type, "cache-control": "no-cache"}
        await self.head(200, kind | {"transfer-encoding": "chunked", "x-request-id": f"up_{self.plan.call_id}"})
        return prepared

    async def events(self, stream: Stream, events: list[Event]) -> None:
        for event in events:
            if self.plan.delay:
                await self.pause(self.plan.delay)
            await self.chunk(event.data)
            self.bill(stream, event.tokens)
            self.request.events_sent += 1

    def charge(self, bill: Bill) -> None:
        self.upstream.billed[self.plan.call_id] = self.request.bill = bill

    def bill(self, stream: Stream, tokens: int) -> None:
        """Charge for what was sent."""
        stream.bill.completion += tokens


class Upstream:
    def __init__(self) -> None:
        self.key = KEY
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls: list[asyncio.Server] = []
        self._clear()
        threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True).start()
        self._server = self._run(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._closed_port = socket.socket()
        self._closed_port.bind(("127.0.0.1", 0))

    # --- for tests

    def url(self, dialect: str) -> str:
        """The base address an admin would type for this dialect."""
        return f"http://127.0.0.1:{self.port}/{dialect}{DIALECTS[dialect].base}"

    def refusing_url(self, dialect: str) -> str:
        """The same at a port that refuses connections."""
        return self.url(dialect).replace(str(self.port), str(self._closed_port.getsockname()[1]))

    def tls_url(self, dialect: str, context: ssl.SSLContext, host: str = "localhost") -> str:
        """The same behind TLS with this certificate."""
        server = self._run(self._listen(context))
        self._tls.append(server)
        return f"https://{host}:{server.sockets[0].getsockname()[1]}/{dialect}{DIALECTS[dialect].base}"

    def script(self, *faults: Fault) -> None:
        """What the next requests get, one each; afterwards the default answer again."""
        self._script.extend(faults)

    def always(self, fault: Fault | None) -> None:
        """What requests get that no script step is left for."""
        self._always = fault

    def reset(self) -> None:
        """Forget script and records, and cut off exchanges still going on."""
        self._run(self._cut_off())
        self._clear()

    def stop(self) -> None:
        self._server.close()
        self._run(self._end())
        self._closed_port.close()
        self._loop.call_soon_threadsafe(self._loop.stop)

    # --- the server

    def _clear(self) -> None:
        self.requests: list[Request] = []
        self.billed: dict[str, Bill] = {}
        self.errors: list[Exception] = []
        """What went wrong in the upstream itself; a test with any fails."""
        self._script: deque[Fault] = deque()
        self._always: Fault | None = None
        self._numbers = count(1)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self, context: ssl.SSLContext | None = None) -> asyncio.Server:
        return await self._loop.create_server(lambda: Connection(self), "127.0.0.1", 0, ssl=context)

    async def _cut_off(self) -> None:
        for server in self._tls:
            server.close()
        self._tls.clear()
        for task in list(self._tasks):
            task.cancel()

    async def _end(self) -> None:
        """Nothing is left for the garbage collector to finish: it comes at bad moments."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def serve(self, peer: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests in turn until somebody closes."""
        try:
            while request := await self._read(reader):
                answering = asyncio.ensure_future(self._answer(request, peer, writer))
                self._tasks.add(answering)
                answering.add_done_callback(self._tasks.discard)
                if not await answering:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        first = await reader.readline()
        if not first:
            return None
        method, path, _version = first.decode("latin-1").split()
        headers: dict[str, str] = {}
        while (line := await reader.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = await _body(reader, headers)
        request = Request(next(self._numbers), method, path, headers, body)
        self.requests.append(request)
        return request

    async def _answer(self, request: Request, peer: Connection, writer: asyncio.StreamWriter) -> bool:
        """Answer as scripted. Returns whether the connection stays open."""
        fault = self._script.popleft() if self._script else self._always or Fault.answer()
        plan = Plan(**{"call_id": f"call-{request.number}", **fault.plan})
        exchange = Exchange(self, request, plan, peer, writer)
        try:
            await fault.act(exchange)
        except (Ended, ConnectionError):
            if peer.left.is_set():
                request.mark_disconnected()
            return False
        except Exception as error:
            self.errors.append(error)
            raise
        return not exchange.closes


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body
