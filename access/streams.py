"""Streams that htmx reads: server-sent events that hold parts of a page."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from threading import Event

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import StreamingHttpResponse
from django.utils.safestring import SafeString

DONE = b"event: done\ndata: done\n\n"
stopping = Event()
"""Set when this process is told to stop: streams without an end of their own end then, and are asked for again."""


def event_stream(events: AsyncGenerator[bytes]) -> StreamingHttpResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(_without_database(events), content_type="text/event-stream", headers=headers)


async def _without_database(events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Streams last; the database connection that found their reader is given back first."""
    await sync_to_async(close_old_connections)()
    async with aclosing(events):
        async for event in events:
            yield event


def message(*parts: str, id: str = "") -> bytes:
    """One event; a carriage return would end a line of it, so it travels as an entity."""
    lines = "".join(parts).replace("\r", "&#13;").split("\n")
    marked = f"id: {id}\n" if id else ""
    return (marked + "".join(f"data: {line}\n" for line in lines)).encode("utf-8", "replace") + b"\n"


def partial(target: str, html: SafeString, swap: str = "innerHTML") -> str:
    """A part of the page, put to its place on its own."""
    return f'<hx-partial hx-target="{target}" hx-swap="{swap}">{html}</hx-partial>'
