"""One answer in the making: a task of its own, so that a reload or a closed tab does not end it.

Whoever watches gets the text as it comes; everybody else finds in the database what there was half a second
ago. The row is also how other processes stop it: an answer whose row does not run any more cancels itself.
"""

import asyncio
import contextlib
import contextvars
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from django.db import DatabaseError
from django.utils import timezone
from msgspec import structs

from access.principal import Principal
from access.threads import in_thread
from connections.providers.calls import JSON, Mode
from gateway import admission
from gateway.accepted import Answered, Prompt
from gateway.envelope import Problem
from gateway.ledger.record import Record
from gateway.pipeline import Engine, engine
from gateway.streaming import Stream
from playground.models import INTERRUPTED, Run

SAVE_EVERY = 0.5
FRAME = 0.04
"""Seconds between two pieces of text on their way to the browser."""
STOPPING = 5.0
"""Seconds that a stop waits for the answer to be settled."""
PICTURE = re.compile(r"(data:image/[a-z+]+;base64,)?[A-Za-z0-9+/]{2000,}={0,2}")
"""What is shown only with its start."""
logger = logging.getLogger(__name__)

_running: dict[UUID, "Answering"] = {}


class Answering:
    """Begins when it is made; watch it with `pieces` (one watcher), wait for its end with `finished`."""

    def __init__(self, run: Run, principal: Principal) -> None:
        self.run = run
        self.text = ""
        self._over = asyncio.Event()
        self._stopped = False
        self._principal = principal
        self._prompt = Prompt(principal, Mode.CHAT, json.dumps(run.request).encode(), "playground")
        self._stirred = asyncio.Event()
        self._source: Answered | Stream | None = None
        self._task = asyncio.create_task(self._make(), context=contextvars.Context())
        _running[run.pk] = self

    def stop(self) -> None:
        """Because somebody wants it to end."""
        self._stopped = True
        self.interrupt()

    def interrupt(self) -> None:
        """Because the server ends."""
        self._task.cancel()

    async def finished(self) -> None:
        await self._over.wait()

    async def pieces(self) -> AsyncIterator[str]:
        """The text in pieces, at most one per frame, until the answer is over."""
        shown = 0
        while not self._over.is_set():
            await self._stirred.wait()
            self._stirred.clear()
            if len(self.text) > shown:
                piece, shown = self.text[shown:], len(self.text)
                yield piece
                await asyncio.sleep(FRAME)

    async def _make(self) -> None:
        saving = asyncio.create_task(self._save_often())
        try:
            with admission.calls.entered():
                await self._answer(await engine())
            self.run.state = Run.State.DONE
        except asyncio.CancelledError:
            if self._stopped:
                self.run.state = Run.State.STOPPED
            else:
                self._fail("interrupted", INTERRUPTED)
        except Problem as problem:
            self._fail(problem.code, problem.message)
        except Exception:
            logger.exception("The answer %s failed inside", self.run.pk)
            self._fail("internal_error", "Something went wrong inside.")
        finally:
            saving.cancel()
            await asyncio.shield(asyncio.create_task(self._settle()))

    async def _answer(self, running: Engine) -> None:
        effective = await running.effective(self._prompt)
        self.run.adjusted = effective.pop("adjusted")
        self.run.effective = shortened(effective)
        if not self.run.request.get("stream"):
            answered = await running.ask(self._prompt)
            self._source, self.run.adjusted = answered, answered.adjusted
            self._add(_text(json.loads(answered.body), "message"))
            return
        async with running.stream(self._prompt) as stream:
            self._source = stream
            async for chunk in stream:
                self._add(_text(json.loads(chunk), "delta"))
            self.run.adjusted = stream.adjusted

    async def _note_served(self) -> None:
        """Who answered; where that is another one than was expected, what it was sent."""
        if self._source is None:
            return
        record = self._source.record
        for name in MEASURED:
            setattr(self.run, name, getattr(record, name))
        self.run.served, self.run.connection = record.model, record.connection
        self.run.attempts = int(self._source.headers["x-mesh-attempts"])
        if record.model != self.run.model:
            with contextlib.suppress(Problem):
                self.run.effective = shortened(sent_to(await engine(), self._prompt, record.model))

    def _add(self, piece: str) -> None:
        if piece:
            self.text += storable(piece)
            self._stirred.set()

    def _fail(self, code: str, message: str) -> None:
        self.run.state, self.run.problem_code, self.run.problem = Run.State.FAILED, code, message

    async def _save_often(self) -> None:
        running = True
        while running:
            await asyncio.sleep(SAVE_EVERY)
            with contextlib.suppress(DatabaseError):  # the next save, or the last one, makes up for it
                running = await in_thread(self._save_text)
        self.stop()

    def _save_text(self) -> bool:
        """Whether the row still runs: nobody stopped it or deleted its conversation."""
        row = Run.objects.running().filter(pk=self.run.pk)
        return bool(row.update(text=self.text, alive_at=timezone.now()))

    async def _settle(self) -> None:
        """Write down what came of it; the ledger's own row is the engine's matter."""
        self.run.text, self.run.request_id = self.text, self._prompt.request_id
        try:
            await self._note_served()
            await in_thread(self._save)
        except Exception:
            logger.exception("The answer %s could not be saved", self.run.pk)
        finally:
            self._over.set()
            self._stirred.set()
            _running.pop(self.run.pk, None)

    def _save(self) -> None:
        values = {name: getattr(self.run, name) for name in (*MEASURED, *TOLD)}
        Run.objects.filter(pk=self.run.pk).update(**values)


MEASURED = (
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "estimated",
    "cost",
    "first_token_ms",
    "total_ms",
)
TOLD = (
    *("state", "text", "problem", "problem_code", "effective", "adjusted", "request_id"),
    *("served", "connection", "attempts"),
)


async def stop(run_id: UUID) -> None:
    """End an answer, wherever it is made, and wait for its settling if that is here."""
    await in_thread(lambda: Run.objects.running().filter(pk=run_id).update(state=Run.State.STOPPED))
    if answering := _running.get(run_id):
        answering.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOPPING):
                await answering.finished()


async def end_answers() -> None:
    """At the server's end: keep what has come of the answers, and what it cost."""
    ending = list(_running.values())
    for answering in ending:
        answering.interrupt()
    for answering in ending:
        await answering.finished()
    await (await engine()).meter.written()


def sent_to(running: Engine, prompt: Prompt, model: str) -> JSON:
    """What the provider of this model is sent first for the prompt, without credentials. Raises Problem."""
    asked = structs.replace(prompt, body=json.dumps({**json.loads(prompt.body), "model": model}).encode())
    record = Record.of(asked.principal, asked.mode, asked.source, asked.request_id)
    sent = running.request_of(running.plan(asked, record, time.perf_counter()))
    del sent["adjusted"]  # the answer itself tells
    return sent


def _text(answer: JSON, part: str) -> str:
    """The visible text of a chunk (`delta`) or of a whole answer (`message`)."""
    choices: list[JSON] = answer.get("choices") or [{}]
    said: JSON = choices[0].get(part) or {}
    return said.get("content") or said.get("refusal") or ""


def storable(text: str) -> str:
    """Without what no database takes: NUL and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shortened(value: Any) -> Any:
    """Without the bulk of pictures, for showing."""
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    if isinstance(value, str) and PICTURE.fullmatch(value):
        return f"{value[:100]}… ({len(value):,} characters)"
    return value
