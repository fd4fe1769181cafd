"""The web process: `/v1` is answered by the data plane, every other path by Django.

`application` serves both; `gateway` and `web` serve one plane each, for machines of their own.
"""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from types import FrameType
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")

from django.core.asgi import get_asgi_application

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

django: App = get_asgi_application()  # type: ignore[assignment] # its stubs want narrower mappings

from access.streams import stopping  # noqa: E402 - needs the apps
from gateway.asgi import application as data_plane  # noqa: E402 - likewise
from gateway.pipeline import engine  # noqa: E402 - likewise
from playground.answering import end_answers  # noqa: E402 - likewise

PROCESS_PATHS = {"/healthz", "/readyz", "/metrics"}
MAX_BODY = 32 * 2**20
"""Bytes that Django may spool for one request; its own limits come only after that."""
BODY_SECONDS = 60.0
TOO_LARGE, TOO_SLOW = (413, b"The body is too large.\n"), (408, b"The body did not arrive in time.\n")


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await _serve(scope, receive, send, data_plane, capped)


async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
    await _serve(scope, receive, send, data_plane, _process_only)


async def web(scope: Scope, receive: Receive, send: Send) -> None:
    await _serve(scope, receive, send, _elsewhere, capped)


async def _serve(scope: Scope, receive: Receive, send: Send, gateway: App, rest: App) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["path"].lstrip("/").partition("/")[0] == "v1":
        await gateway(scope, receive, send)
    else:
        await rest(scope, receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    """Start the engine before the first request; it closes itself with the event loop."""
    await receive()
    _hear_the_end()
    await engine()
    gc.collect()
    gc.freeze()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await end_answers()
    await send({"type": "lifespan.shutdown.complete"})


def _hear_the_end() -> None:
    """The server waits for open streams when it is told to stop; tell those that would go on for ever."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, partial(_stop, signal.getsignal(number)))


def _stop(server: Any, number: int, frame: FrameType | None) -> None:
    stopping.set()
    if callable(server):
        server(number, frame)


async def capped(scope: Scope, receive: Receive, send: Send) -> None:
    """Django under a cap on the body's bytes, chunked bodies included, and on the time that it takes to come."""
    received, whole = 0, False
    refusal: tuple[int, bytes] | None = None
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS

    async def counted() -> MutableMapping[str, Any]:
        nonlocal received, whole, refusal
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            refusal = TOO_SLOW
            return {"type": "http.disconnect"}
        received += len(message.get("body", b""))
        whole = not message.get("more_body")
        if received > MAX_BODY:
            refusal = TOO_LARGE
            return {"type": "http.disconnect"}
        return message

    length = dict(scope.get("headers", [])).get(b"content-length", b"")
    if length.isdigit() and int(length) > MAX_BODY:
        refusal = TOO_LARGE
    else:
        await django(scope, counted, send)
    if refusal is not None:  # Django has answered nothing: it waits for the whole body first
        await _plain(send, *refusal)


async def _process_only(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] in PROCESS_PATHS:
        await django(scope, receive, send)
    else:
        await _plain(send, 404, b"This process serves only /v1.\n")


async def _elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    await _plain(send, 404, b"This process does not serve /v1.\n")


async def _plain(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
