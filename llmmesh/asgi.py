"""The web process: `/v1` is answered by the data plane, every other path by Django.

`application` serves both; `gateway` and `web` serve one plane each, for machines of their own. They run under our own
protocol (`uvicorn --http llmmesh.server:Protocol`), which hands `/v1` to the data plane itself.
"""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from types import FrameType
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")

from django.core.asgi import get_asgi_application

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
DataPlane = Callable[[Any], Awaitable[None]]

django: App = get_asgi_application()  # type: ignore[assignment] # its stubs want narrower mappings

from django.conf import settings  # noqa: E402 - needs the apps

from access.streams import stopping  # noqa: E402 - likewise
from gateway import admission  # noqa: E402 - likewise
from gateway import http as data_plane  # noqa: E402 - likewise
from gateway.envelope import Problem, new_request_id  # noqa: E402 - likewise
from gateway.pipeline import engine  # noqa: E402 - likewise
from llmmesh import probes  # noqa: E402 - likewise
from playground.answering import end_answers  # noqa: E402 - likewise

STREAM_SECONDS = 30.0
"""What calls get to end by themselves when the process is told to stop."""
LAST_WORDS = 5.0
"""And then to tell their clients that they are cut off."""
STREAM = (b"Content-Type", b"text/event-stream")
"""As Django sends it."""
MAX_BODY = 32 * 2**20
"""Bytes that Django may spool for one request; its own limits come only after that."""
YOUNG = 10_000
"""Objects after which the youngest are searched for garbage: calls under way are none, and are many."""
TOO_LARGE = b"The body is too large.\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await _serve(scope, receive, send, data_plane.serve, admitted)


async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
    await _serve(scope, receive, send, data_plane.serve, _elsewhere)


async def web(scope: Scope, receive: Receive, send: Send) -> None:
    await _serve(scope, receive, send, None, admitted)


async def _serve(scope: Scope, receive: Receive, send: Send, plane: DataPlane | None, rest: App) -> None:
    if scope["type"] == "lifespan":
        scope["state"][data_plane.PLANE] = plane
        await _lifespan(scope, receive, send)
    elif scope["path"].lstrip("/").partition("/")[0] == "v1":
        await _elsewhere(scope, receive, send)
    elif scope["path"] in probes.PROBES:
        await probes.serve(scope, send)
    else:
        await rest(scope, receive, send)


async def _lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Start the engine before the first request; it closes itself with the event loop."""
    await receive()
    scope["state"]["database"] = probes.Database()
    _hear_the_end()
    await engine()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await end_answers()
    await send({"type": "lifespan.shutdown.complete"})


def _hear_the_end() -> None:
    """The server ends what runs as soon as it is told to stop; stand between, so that calls may end first."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(server := signal.getsignal(number)):
            signal.signal(number, partial(_stop, loop, server))


def _stop(loop: asyncio.AbstractEventLoop, server: Callable[..., Any], number: int, frame: FrameType | None) -> None:
    end = partial(server, number, frame)
    if stopping.is_set():  # told twice: somebody is in a hurry
        end()
        return
    stopping.set()
    loop.call_soon_threadsafe(lambda: _ending.append(loop.create_task(_end(end))))


_ending: list[asyncio.Task[None]] = []
"""Holds the task: the loop alone would not."""


async def _end(end: Callable[[], None]) -> None:
    """Serve on until balancers have seen that we are not ready, then refuse, let calls end, and stop the server."""
    try:
        await asyncio.sleep(settings.DRAIN_SECONDS)
        admission.calls.close()
        admission.pages.close()
        await admission.calls.emptied(STREAM_SECONDS)
        (await engine()).ending = admission.STOPPING
        await admission.calls.empty(LAST_WORDS)
    finally:
        end()


async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
    """Django, for no more requests at once than this process can work on."""
    door = admission.pages
    if len(door.inside) >= door.room:
        await _refuse(scope, send, door.refusal)
        return
    task = asyncio.current_task()

    async def noticing(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and STREAM in message["headers"]:
            door.inside.discard(task)
        await send(message)

    door.inside.add(task)
    try:
        await capped(scope, receive, noticing)
    finally:
        door.inside.discard(task)


async def _refuse(scope: Scope, send: Send, problem: Problem) -> None:
    """In the error contract's shape for programs, in a sentence for people."""
    request_id = new_request_id()
    told = {**problem.headers(), "x-request-id": request_id}
    if problem.ends_connection:
        told["connection"] = "close"
    headers = [(name.encode(), value.encode()) for name, value in told.items()]
    if scope["path"].startswith("/api/"):
        await _answer(send, problem.status, b"application/json", problem.body(request_id), headers)
    else:
        await _plain(send, problem.status, problem.message.encode() + b"\n", headers)


async def capped(scope: Scope, receive: Receive, send: Send) -> None:
    """Django under a cap on the body's bytes, chunked bodies included."""
    received, too_large = 0, False

    async def counted() -> MutableMapping[str, Any]:
        nonlocal received, too_large
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY:
            too_large = True
            return {"type": "http.disconnect"}
        return message

    length = dict(scope.get("headers", [])).get(b"content-length", b"")
    if length.isdigit() and int(length) > MAX_BODY:
        too_large = True
    else:
        await django(scope, counted, send)
    if too_large:  # Django has answered nothing: it waits for the whole body first
        await _plain(send, 413, TOO_LARGE)


async def _elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    await _plain(send, 404, b"This process serves the other addresses.\n")


async def _plain(send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    await _answer(send, status, b"text/plain; charset=utf-8", body, headers)


async def _answer(send: Send, status: int, kind: bytes, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
