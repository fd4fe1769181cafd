"""`Idempotency-Key`: a call of `/v1` that is sent again gets the first one's answer, and is not made again.

A row of `KeyedCall` is written before the call, which is the hold on the key, and gets the answer when the usage
row is committed. A call that comes to no answer frees its key. A hold has to be renewed, so that a process that
dies frees its keys too.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
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
from gateway.sinks import Sink

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
REPLAYED = [("idempotent-replayed", "true"), (CACHE, "replayed")]
PASSING = "x-ratelimit-"
"""So begin headers that are true only at their time."""

logger = logging.getLogger(__name__)


def checked(given: Sequence[bytes]) -> str:
    """The key of a call that came with these. Raises Problem."""
    key = given[0].decode("latin-1")
    if len(given) > 1 or not 1 <= len(key) <= LONGEST_KEY or not (key.isascii() and key.isprintable()):
        message = f"Send one Idempotency-Key of 1 to {LONGEST_KEY} printable ASCII characters."
        raise Problem("invalid_value", message, param="Idempotency-Key")
    return key


@asynccontextmanager
async def once(key: str, path: str, prompt: Prompt, sink: Sink) -> AsyncIterator[Sink | None]:
    """Hold the key for a call, whose answer goes to the sink that this gives. Raises Problem.

    None: it was made before, and is answered.
    """
    call, mine = await _taken(key, path, prompt)
    if mine:
        async with Hold(call, sink) as hold:
            yield hold
        return
    await sink.answer(200, _replayed_lines(call), bytes(call.body or b""))
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


def _replayed_lines(call: KeyedCall) -> bytes:
    kept = [header for header in call.headers or [] if header[0] not in {CACHE, "content-length"}]
    return "".join([f"{name}: {value}\r\n" for name, value in [*kept, *REPLAYED]]).encode("latin-1")


class Hold:
    """A call's hold on its key, and the sink of its answer.

    It keeps what goes through, up to a proper end; leaving it before frees the key.
    """

    def __init__(self, call: KeyedCall, sink: Sink) -> None:
        self._row = KeyedCall.objects.filter(pk=call.pk)
        self._sink = sink
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

    @property
    def full(self) -> bool:
        return self._sink.full

    async def room(self) -> None:
        await self._sink.room()

    async def answer(self, status: int, lines: bytes, body: bytes) -> None:
        self._note_head(lines)
        await self._note_end(body)
        await self._sink.answer(status, lines, body)

    def begin(self, status: int, lines: bytes) -> None:
        self._note_head(lines)
        self._sink.begin(status, lines)

    def write(self, data: bytes) -> None:
        if data != HEARTBEAT:
            self._note(data)
        self._sink.write(data)

    async def end(self, data: bytes) -> None:
        await self._note_end(data)
        await self._sink.end(data)

    async def _note_end(self, data: bytes) -> None:
        """The answer is kept before its end goes out: whoever has it all and asks again gets it again."""
        if not self._over:
            self._note(data)
            await self._end(self._keep)

    def _note_head(self, lines: bytes) -> None:
        headers = [line.split(": ", 1) for line in lines.decode("latin-1").splitlines()]
        self._headers = [(name, value) for name, value in headers if not name.startswith(PASSING)]

    def _note(self, part: bytes) -> None:
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
