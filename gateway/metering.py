"""What the path of a prompt writes down: one durable usage row per call, committed in groups.

One writer per process takes all rows that wait, commits them in one transaction, releases their answers,
and repeats. There is no timer: alone, a row is committed at once; under load, many share one commit.
While the database is away, rows go to a journal, from where they are booked when it is back. Of calls under way
there are notes, from which they are booked should their process be killed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, transaction

from access import keys
from access.threads import AWAY, in_thread
from connections.health import MeteredCall
from connections.providers.calls import Usage
from gateway import interrupted
from gateway.budgets import booking
from gateway.envelope import Problem, new_request_id
from gateway.ledger import adding, notes, rows
from gateway.ledger.journal import Journal, replay
from gateway.ledger.notes import Notes
from gateway.ledger.record import Record, Tried
from gateway.models import Attempt

LOOK_EVERY = 1.0
"""Seconds between two looks for rows that wait in the journal."""
PATIENCE = 2.0
"""Seconds for which a group may wait for the database; one that says nothing for so long is away too."""
logger = logging.getLogger(__name__)
T = TypeVar("T")


def _attempts(record: Record) -> Iterator[Attempt]:
    for one in record.attempts:
        columns = {column.name: getattr(one, column.name) for column in fields(Tried) if column.name != "usage"}
        told = one.usage or Usage()
        tokens = {"prompt_tokens": told.prompt_tokens, "completion_tokens": told.completion_tokens}
        yield Attempt(usage_id=record.id, at=record.at, **columns, **tokens)


def commit(records: list[Record]) -> None:
    """Write the rows and what hangs on them in one transaction (blocking). What is there already stays as it is."""
    try:
        before = adding.late_before()
        late = [record.at for record in records if record.at < before]
        with transaction.atomic() if late or any(map(_has_more, records)) else nullcontext():
            _book(rows.insert(records))
            if late:  # also of rows that are there already: a line that hung may have written them unmarked
                adding.mark_stale(late)
    except AWAY:
        connection.close()
        raise


def commit_each(records: list[Record]) -> list[Record]:
    """Commit together what can be. Returns the rows that the database never takes: they must not fail the others."""
    try:
        commit(records)
    except AWAY:
        raise
    except Exception:
        if len(records) == 1:
            logger.exception("A usage row cannot be written")
            return records
        return [refused for record in records for refused in commit_each([record])]
    return []


def _has_more(record: Record) -> bool:
    """Whether it takes more than one statement."""
    return bool(record.attempts or record.budgets or record.once)


def _book(fresh: list[Record]) -> None:
    """Write down what hangs on rows that were not there yet; `commit` opens a transaction for it."""
    if attempts := [row for record in fresh for row in _attempts(record)]:
        Attempt.objects.bulk_create(attempts)
    booking.book(fresh)


Waiting = tuple[Record, asyncio.Future[None]]


class Meter:
    """The writer of one event loop. `write` returns when the row is safe: committed, or in the journal."""

    def __init__(self) -> None:
        self._folder = journal_folder()
        self._journal = Journal(self._folder)
        self.notes = Notes(self._folder)
        """Of the calls under way; cleared when their rows are safe."""
        self._refused: list[Record] = []
        """The row that the database did not take when it was last asked; it is back when it takes it."""
        self._waiting: list[Waiting] = []
        self._writing = False
        self._watching: list[asyncio.Future[None]] = []
        """Those who wait until what was handed over before them is written."""
        self._stirred = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "meter")
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def away(self) -> bool:
        """Whether rows go to the journal at the moment."""
        return bool(self._refused)

    def check(self) -> None:
        """Raises Problem while calls shall not be made because the ledger is away."""
        if self._refused and settings.LEDGER_AWAY == "refuse":
            raise _cannot_be_written()

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write_groups()), asyncio.create_task(self._empty_journals())]

    async def close(self) -> None:
        """Commit what waits, then stop."""
        await self.written()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.submit(lambda: connection.close())  # the connection of that thread
        self._thread.shutdown(wait=True)
        self._journal.close()
        self.notes.close()

    def write(self, record: Record) -> asyncio.Future[None]:
        """Done when the row is safe. Awaiting it raises Problem when it can be written nowhere.

        The row is written all the same when nobody awaits it, or whoever does is cancelled.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((record, done))
        self._stirred.set()
        return done

    async def written(self) -> None:
        """Wait until every row handed over so far is safe, or was given up."""
        if self._waiting or self._writing:
            done = asyncio.get_running_loop().create_future()
            self._watching.append(done)
            self._stirred.set()
            await done

    async def _write_groups(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            group, self._waiting = self._waiting, []
            watching, self._watching = self._watching, []
            self._writing = True
            if group:
                await self._write_group(group)
            self._writing = False
            for done in watching:
                if not done.done():
                    done.set_result(None)

    async def _write_group(self, group: list[Waiting]) -> None:
        """Write and release."""
        records = [record for record, _ in group]
        lost = await self._committed(records)
        if lost is None:
            lost = await self._in_thread(self._write_down, records)
        for record, done in group:
            unsafe = lost and record in lost
            if not unsafe:
                self.notes.clear(record.request_id)
            if done.done():
                continue
            if unsafe:
                done.set_exception(_cannot_be_written())
            else:
                done.set_result(None)
        if used := keys.due({record.key_id for record in records}):
            self._thread.submit(_note_use, used)

    async def _committed(self, records: list[Record]) -> list[Record] | None:
        """The rows that the database never takes; None: it is away."""
        if self.away:
            return None
        committing = self._in_thread(commit_each, records)
        await asyncio.wait({committing}, timeout=PATIENCE)
        try:
            if committing.done():
                return committing.result()
            logger.error("The database is silent; usage rows go to the journal")
            committing.add_done_callback(_hear)
            self._leave_thread()
        except AWAY:
            logger.exception("The ledger is away; usage rows go to the journal")
        self._refused = records[:1]
        return None

    def _in_thread(self, work: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _leave_thread(self) -> None:
        """It hangs in the database's silence. Its rows may come through in the end: then they are there already."""
        self._thread.shutdown(wait=False)
        self._thread = ThreadPoolExecutor(1, "meter")

    def _write_down(self, records: list[Record]) -> list[Record]:
        """In the thread. Returns the rows that are safe nowhere."""
        try:
            self._journal.append(records)
        except OSError:
            logger.exception("%d usage rows could not be written", len(records))
            return records
        return []

    async def _empty_journals(self) -> None:
        """See whether the database is back, and book what waits for it, also what other processes left."""
        while True:
            try:
                if self.away:
                    await in_thread(commit_each, self._refused)
                    await self._in_thread(self._return)
                await in_thread(replay, self._folder, commit_each)
                await in_thread(notes.replay, self._folder, lambda left: interrupted.book(left, commit_each))
            except AWAY:
                pass
            except Exception:
                logger.exception("Journals could not be emptied; trying again")
            await asyncio.sleep(LOOK_EVERY)

    def _return(self) -> None:
        """In the thread: the database is back, and the journal may be booked."""
        self._refused = []
        self._journal.close()


def _hear(committing: "asyncio.Future[Any]") -> None:
    """Nobody waits any more for what became of it."""
    if not committing.cancelled():
        committing.exception()


def _cannot_be_written() -> Problem:
    return Problem("overloaded", "The usage ledger cannot be written at the moment; try again.")


def _note_use(public_ids: set[str]) -> None:
    try:
        keys.note_use(public_ids)
    except AWAY:
        connection.close()


def journal_folder() -> Path:
    return Path(settings.DATA_DIR / "journal")


def write_check(made: MeteredCall) -> None:
    """Write down a paid call of a health check or test, under its system principal."""
    target = made.target
    record = Record.of(made.principal, target.mode, "health", new_request_id())
    record.model = made.model.public_id if made.model else target.upstream_id
    if made.connection is not None:
        record.connection_id, record.connection = made.connection.pk, made.connection.name
    record.model_id = made.model.pk if made.model else None
    record.take_answer(made.finish_reason, made.upstream_model)
    record.total_ms = made.total_ms
    record.take_usage(made.usage)
    if made.error is not None:
        record.fail(Problem.of(made.error))
    record.price(made.provider, target, [made.model.own_price] if made.model and made.model.own_price else [])
    try:
        commit([record])
    except AWAY:
        journal = Journal(journal_folder())
        journal.append([record])
        journal.close()
