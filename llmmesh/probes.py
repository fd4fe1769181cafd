"""What those who run a process ask it, without a key. It is answered before anything else, and never refused."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from django.db import DatabaseError, connection
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from access.streams import stopping
from access.threads import in_thread

FRESH = 1.0
"""Seconds for which the database is not asked again."""
HURRY = 0.15
"""Seconds that a probe waits for the database. A busy one is asked on, and what it said last stands meanwhile."""
LAST_WORD = 3.0
"""Seconds for which that stands."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, str, bytes]


class Database:
    """Whether it answers. It is asked by one at a time, however many want to know."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[None] | None = None
        self._asked = self._answered = float("-inf")

    async def answers(self) -> bool:
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked > FRESH):
            self._asked, self._asking = now, asyncio.create_task(self._ask())
        await asyncio.wait({self._asking}, timeout=HURRY)
        if self._asking.done():
            return self._answered >= self._asked
        return time.monotonic() - self._answered < LAST_WORD

    async def _ask(self) -> None:
        try:
            await in_thread(_select)
        except DatabaseError:
            return
        self._answered = time.monotonic()


def _select() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _healthz(database: Database) -> Answer:
    """The process answers; nothing else is asked, so that a provider's fault never restarts us."""
    return _json(200, {"status": "ok"})


async def _readyz(database: Database) -> Answer:
    """Whether this process can serve: it is not being stopped, and the database answers."""
    if stopping.is_set():
        return _json(503, {"status": "stopping", "cause": "This process is being stopped."})
    if not await database.answers():
        return _json(503, {"status": "unavailable", "cause": "The database does not answer."})
    return _json(200, {"status": "ok"})


async def _metrics(database: Database) -> Answer:
    return 200, CONTENT_TYPE_LATEST, generate_latest()


def _json(status: int, told: dict[str, str]) -> Answer:
    return status, "application/json", json.dumps(told).encode()


PROBES: Mapping[str, Callable[[Database], Awaitable[Answer]]] = {
    "/healthz": _healthz,
    "/readyz": _readyz,
    "/metrics": _metrics,
}


async def serve(scope: MutableMapping[str, Any], send: Send) -> None:
    status, kind, body = await PROBES[scope["path"]](scope["state"]["database"])
    if scope["method"] not in {"GET", "HEAD"}:
        status, kind, body = 405, "text/plain", b"Ask with GET.\n"
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
