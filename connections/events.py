"""Live rows: every open list of connections is told what changed, by check or by hand.

A message only wakes; what changed is read from the database, so a lost message costs seconds, not a row.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

import redis.asyncio
from django.conf import settings
from django.contrib.auth import get_user
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_safe

from access.announcements import publish
from access.audit import VERSION_CHANNEL
from access.permissions import requires
from access.roles import Permission
from access.streams import DONE, event_stream, message, stopping
from access.threads import in_thread
from connections.models import Connection
from connections.rows import rows_of

ROW = "connections/list.html#row"
CHANNEL = "mesh:health"
POLL = 2.0
"""Seconds between looks where no messages can be had."""
PATIENCE = 2.0
"""Seconds after which we look although no message came: it may be lost, the session or server may have ended."""
GATHER = 0.2
"""Seconds that one message waits for others, so that they lead to one look."""
HEARTBEAT = 15.0
PAGE_AGE = timedelta(seconds=30)
"""So old may a page be when it first asks for what changed."""

Marks = dict[UUID, tuple[Any, ...]]
"""By connection, what moves whenever its row is to be drawn anew."""


def announce() -> None:
    """Wake all open lists once this transaction is committed."""
    transaction.on_commit(partial(publish, CHANNEL))


@requires(Permission.VIEW_CONNECTIONS)
@require_safe
async def events(request: HttpRequest) -> StreamingHttpResponse:
    """A stream of rows, each put in the place of the one it replaces. It ends with the session."""
    return event_stream(_stream(request))


async def _stream(request: HttpRequest) -> AsyncGenerator[bytes]:
    marks = await in_thread(_marks_before, request.headers.get("last-event-id", ""))
    said = monotonic()
    yield b": connected\n\n"
    async for _ in _ticks():
        if stopping.is_set():
            return
        permitted, marks, rows = await in_thread(_look, request, marks)
        if not permitted:
            yield DONE
            return
        if rows:
            said = monotonic()
            yield message(rows, id=str(timezone.now().timestamp()))
        elif monotonic() - said >= HEARTBEAT:
            said = monotonic()
            yield b": still here\n\n"


async def _ticks() -> AsyncIterator[None]:
    """One tick whenever something was announced, and after a while in any case."""
    while settings.REDIS_URL:
        try:
            async with redis.asyncio.Redis.from_url(settings.REDIS_URL) as client, client.pubsub() as announced:
                await announced.subscribe(CHANNEL, VERSION_CHANNEL)
                yield
                while True:
                    if await announced.get_message(ignore_subscribe_messages=True, timeout=PATIENCE):
                        await asyncio.sleep(GATHER)
                        while await announced.get_message(timeout=0):
                            pass
                    yield
        except redis.RedisError:
            await asyncio.sleep(POLL)
            yield
    while True:
        yield
        await asyncio.sleep(POLL)


def _look(request: HttpRequest, known: Marks) -> tuple[bool, Marks, str]:
    """Whether the reader may still look, what is there, and the rows that differ from what is `known`."""
    if not _still_permitted(request):
        return False, known, ""
    marks = _marks(Connection.objects.all())
    changed = [pk for pk, mark in marks.items() if known.get(pk) != mark]
    return True, marks, _rows(request, changed) if changed else ""


def _still_permitted(request: HttpRequest) -> bool:
    """Asked of the database anew: the session may have ended and the role may have changed."""
    request.session = type(request.session)(request.session.session_key)
    request.user = get_user(request)
    return request.user.is_authenticated and request.user.may(Permission.VIEW_CONNECTIONS)


def _marks_before(last_event_id: str) -> Marks:
    """What the reader has seen already: on its page, or until the stream broke."""
    try:
        seen = datetime.fromtimestamp(float(last_event_id), UTC)
    except (ValueError, OverflowError):
        seen = timezone.now() - PAGE_AGE
    unchecked_since = Q(checked_at=None) | Q(checked_at__lte=seen)
    return _marks(Connection.objects.filter(unchecked_since, updated_at__lte=seen))


def _marks(connections: QuerySet[Connection]) -> Marks:
    rows = connections.values_list("pk", "checked_at", "updated_at", "revision", "paused", "state")
    return {pk: tuple(mark) for pk, *mark in rows}


def _rows(request: HttpRequest, changed: Iterable[UUID]) -> str:
    rows = rows_of(list(Connection.objects.filter(pk__in=changed)))
    return "".join(render_to_string(ROW, {"row": row, "oob": True}, request) for row in rows)
