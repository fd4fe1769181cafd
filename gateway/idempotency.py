"""`Idempotency-Key`: a call of `/v1` that is sent again gets the first one's answer, and is not made again.

A row of `KeyedCall` is written before the call, which is the hold on the key, and gets the answer when the usage
row is committed. A call that comes to no answer frees its key. A hold has to be renewed, so that a process that
dies frees its keys too.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from django.db import IntegrityError
from django.db.models.functions import Now

from access.threads import AWAY, in_thread, insist
from gateway.accepted import Prompt
from gateway.envelope import HEARTBEAT, Problem
from gateway.metering import PATIENCE
from gateway.models import KeyedCall

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=30)
RENEWED = 10.0
"""Seconds between two renewals of a hold."""
LONGEST_KEY = 255
INSISTENCE = 60
"""How often, a second apart, it is tried to write down how a call ended."""
MAX_KEPT = 4 * 2**20
"""Bytes of an answer that is kept: a picture or two."""
NAME = b"idempotency-key"
CACHE = "x-mesh-cache"
REPLAYED = [(b"idempotent-replayed", b"true"), (CACHE.encode(), b"replayed")]
PASSING = (b"x-ratelimit-",)
"""Headers that are true only at their time."""

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
logger = logging.getLogger(__name__)


def checked(given: Sequence[bytes]) -> str:
    """The key of a call that came with these. Raises Problem."""
    key = given[0].decode("latin-1")
    if len(given) > 1 or not 1 <= len(key) <= LONGEST_KEY or not (key.isascii() and key.isprintable()):
        message = f"Send one Idempotency-Key of 1 to {LONGEST_KEY} printable ASCII characters."
        raise Problem("invalid_value", message, param="Idempotency-Key")
    return key


@asynccontextmanager
async def once(key: str, path: str, prompt: Prompt, send: Send) -> AsyncIterator[Send | None]:
    """Hold the key for a call, whose answer goes to the `send` that this gives. Raises Problem.

    None: it was made before, and is answered.
    """
    call, mine = await _taken(key, path, prompt)
    if mine:
        async with Hold(call, send) as hold:
            yield hold.send
        return
    for message in _replay(call):
        await send(message)
    yield None


async def _taken(key: str, path: str, prompt: Prompt) -> tuple[KeyedCall, bool]:
    """As `_take`; a database that is away or silent is no reason to make a call twice."""
    taking = asyncio.create_task(in_thread(_take, key, path, prompt))
    await asyncio.wait({taking}, timeout=PATIENCE)
    try:
        if taking.done():
            return taking.result()
    except AWAY:
        logger.warning("Idempotency keys cannot be looked up", exc_info=True)
    else:
        _go_on(_give_back(taking))
    raise Problem("overloaded", "Idempotency keys cannot be looked up at the moment; try again.")


async def _give_back(taking: asyncio.Task[tuple[KeyedCall, bool]]) -> None:
    """What came too late for its call."""
    with suppress(Problem):
        call, mine = await taking
        if mine:
            await insist(INSISTENCE, KeyedCall.objects.filter(pk=call.pk).delete)


def _take(key: str, path: str, prompt: Prompt) -> tuple[KeyedCall, bool]:
    """The call of this key, and whether it is this one. Raises Problem when it is neither this one nor answered."""
    place = {"key_id": prompt.principal.key_id, "path": path, "key": key}
    digest = hashlib.sha256(prompt.body).hexdigest()
    try:
        return KeyedCall.objects.create(**place, digest=digest, expires_at=Now() + LEASE), True
    except IntegrityError:
        if KeyedCall.objects.filter(**place, expires_at__lte=Now()).delete()[0]:
            return _take(key, path, prompt)
    call = KeyedCall.objects.filter(**place).first()
    if call is None:  # it has ended without an answer just now
        raise _in_flight()
    if call.digest != digest:
        message = "This Idempotency-Key was sent with another body before; take a new key for a new request."
        raise Problem("idempotency_mismatch", message, param="Idempotency-Key")
    if call.headers is None:
        raise _in_flight()
    if call.body is None:
        message = "This was answered before, too largely to be kept. To ask again, take a new Idempotency-Key."
        raise Problem("idempotency_not_kept", message, param="Idempotency-Key")
    return call, False


def _in_flight() -> Problem:
    message = "The request that came first with this Idempotency-Key is still being answered; try again."
    return Problem("idempotency_in_flight", message, param="Idempotency-Key", retry_after=1.0)


def sweep() -> None:
    """Forget what is kept no longer."""
    KeyedCall.objects.filter(expires_at__lte=Now()).delete()


def _replay(call: KeyedCall) -> list[Message]:
    kept = [header for header in call.headers or [] if header[0] != CACHE]
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept]
    return [
        {"type": "http.response.start", "status": 200, "headers": [*headers, *REPLAYED]},
        {"type": "http.response.body", "body": bytes(call.body or b"")},
    ]


class Hold:
    """A call's hold on its key. It keeps what is sent, up to a proper end; leaving it before frees the key."""

    def __init__(self, call: KeyedCall, send: Send) -> None:
        self._row = KeyedCall.objects.filter(pk=call.pk)
        self._send = send
        self._headers: list[tuple[str, str]] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._over = False

    async def __aenter__(self) -> "Hold":
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._renewing.cancel()
        if not self._over:
            await self._end(self._row.delete)

    async def send(self, message: Message) -> None:
        """The answer is kept before its end goes out: whoever has it all and asks again gets it again."""
        if not self._over:
            self._note(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await self._end(self._keep)
        await self._send(message)

    def _note(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message["headers"]
                if not name.startswith(PASSING)
            ]
            return
        part = message["body"]
        if part == HEARTBEAT:
            return
        self._size += len(part)
        if self._size <= MAX_KEPT:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _keep(self) -> None:
        body = b"".join(self._parts) if self._size <= MAX_KEPT else None
        self._row.update(headers=self._headers, body=body, expires_at=Now() + KEPT)

    async def _end(self, work: Callable[[], Any]) -> None:
        """Also when whoever waits for it is being cancelled.

        A database that is away holds no answer up: it is written down when the database is back. Should that take
        longer than a minute, or this process die, the hold runs out, and the next try is a new call.
        """
        self._over = True
        await asyncio.wait({_go_on(insist(INSISTENCE, work))}, timeout=PATIENCE)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWED)
            try:
                await in_thread(self._row.update, expires_at=Now() + LEASE)
            except AWAY as error:
                logger.warning("The hold on an idempotency key was not renewed this time: %s", error)


_unfinished: set[asyncio.Task[Any]] = set()


def _go_on(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Also when nobody waits for it any more."""
    task = asyncio.create_task(work)
    _unfinished.add(task)
    task.add_done_callback(_forget)
    return task


def _forget(task: asyncio.Task[Any]) -> None:
    _unfinished.discard(task)
    if not task.cancelled() and (error := task.exception()):
        logger.error("What became of an idempotency key could not be written down", exc_info=error)
