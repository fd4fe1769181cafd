"""What the path of a prompt writes down: one durable usage row per call, committed in groups.

One writer per process takes all rows that wait, commits them in one transaction, releases their answers,
and repeats. There is no timer: alone, a row is committed at once; under load, many share one commit.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import CharField

from access import keys
from access.principal import Principal
from connections import prices
from connections.health import MeteredCall
from connections.prices import OwnPrice, own_in_force
from connections.providers.calls import Mode, Target, Usage
from connections.providers.contract import Provider
from gateway.envelope import Problem, new_request_id
from gateway.models import Attempt
from gateway.models import Usage as UsageRow

ATTEMPTS, PAUSE = 3, 0.5
"""How often, and how many seconds apart, a group is tried while the database is away."""
AWAY = (OperationalError, InterfaceError)
"""How a database that does not answer shows; other errors are the row's own."""
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Tried:
    """One upstream call in the making of its row."""

    number: int
    connection_id: uuid.UUID
    connection: str
    model_id: uuid.UUID
    model: str
    state: str
    error_code: str
    upstream_status: int | None
    usage: Usage | None
    """None: it failed, and the provider told none."""
    cost: int | None
    total_ms: int


@dataclass(slots=True)
class Record:
    """One row of the ledger in the making; the fields not marked otherwise are `gateway.models.Usage`'s columns."""

    request_id: str
    source: str
    mode: Mode
    principal: str
    user_id: int | None
    key_id: str
    model: str = ""
    route: str = ""
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    connection_id: uuid.UUID | None = None
    connection: str = ""
    model_id: uuid.UUID | None = None
    upstream_model: str = ""
    stream: bool = False
    state: str = UsageRow.State.OK
    status: int = 200
    error_code: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    search_units: int = 0
    estimated: bool = False
    suspect: bool = False
    cost: int | None = None
    price_source: str = ""
    first_token_ms: int | None = None
    total_ms: int = 0
    usage: Usage = field(default=Usage(), metadata={"column": False})
    """What `take_usage` was told, for the price."""
    attempts: list[Tried] = field(default_factory=list, metadata={"column": False})
    """Rows of their own, if the call failed or took more than one."""
    adjusted: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, principal: Principal, mode: Mode, source: str, request_id: str) -> "Record":
        return cls(request_id, source, mode, principal.label, principal.user_id, principal.key_id)

    def take_usage(self, usage: Usage) -> None:
        self.prompt_tokens, self.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        self.cached_tokens, self.cache_write_tokens = usage.cached_tokens, usage.cache_write_tokens
        self.reasoning_tokens, self.images = usage.reasoning_tokens, usage.images
        self.search_units, self.usage = usage.search_units, usage
        self.estimated, self.suspect = usage.estimated, usage.suspect

    def fail(self, problem: Problem) -> None:
        self.state, self.status, self.error_code = UsageRow.State.ERROR, problem.status, problem.code

    def price(self, provider: Provider, target: Target, own: Sequence[OwnPrice] = ()) -> None:
        """`own`: what admins set for the model. The price that held when the call began counts."""
        cost = self.cost_of(self.usage, provider, target, own)
        self.cost, self.price_source = cost.nano, cost.source

    def cost_of(self, usage: Usage, provider: Provider, target: Target, own: Sequence[OwnPrice] = ()) -> prices.Cost:
        held = own_in_force(own, self.at.timestamp()) if own else None
        return prices.cost(provider.priced_as(target), provider.price_provider, usage, held)

    def add_attempts(self, tried: list[Tried]) -> None:
        """What all attempts used and cost is what the call did; those not known to be billed add nothing."""
        self.attempts = tried
        spent = [one for one in tried[:-1] if one.usage is not None]
        if not spent:
            return
        if tried[-1].usage is not None:
            spent.append(tried[-1])
        self.take_usage(reduce(add, [one.usage for one in spent if one.usage is not None]))
        costs = [one.cost for one in spent]
        self.cost = None if None in costs else sum(cost or 0 for cost in costs)


COLUMNS = [column.name for column in fields(Record) if column.metadata.get("column", True)]
TEXTS = [
    (COLUMNS.index(column.name), column.max_length or 0)
    for column in UsageRow._meta.fields
    if isinstance(column, CharField)
]
"""Places of the text columns, and the most characters each takes."""
INSERT = "INSERT INTO {table} ({columns}) VALUES ({places})".format(  # noqa: S608 - names of our own columns only
    table=UsageRow._meta.db_table,
    columns=", ".join(f'"{column}"' for column in COLUMNS),
    places=", ".join(["%s"] * len(COLUMNS)),
)


def _values(record: Record) -> list[Any]:
    """The record's columns as the database at hand takes them."""
    values = [getattr(record, column) for column in COLUMNS]
    for place, length in TEXTS:
        values[place] = _storable(values[place], length)
    values[-1] = json.dumps(record.adjusted)
    if connection.vendor == "sqlite":
        return [_for_sqlite(value) for value in values]
    return values


def _attempts(record: Record) -> Iterator[Attempt]:
    for one in record.attempts:
        columns = {column.name: getattr(one, column.name) for column in fields(Tried) if column.name != "usage"}
        told = one.usage or Usage()
        tokens = {"prompt_tokens": told.prompt_tokens, "completion_tokens": told.completion_tokens}
        yield Attempt(usage_id=record.id, **columns, **tokens)


def _storable(value: str, length: int) -> str:
    """Names and reasons are whatever callers and providers say: without what no database takes, and cut to fit."""
    if "\0" in value or not value.isascii():
        value = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return value[:length]


def _for_sqlite(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return value.hex
    return value.replace(tzinfo=None).isoformat(" ") if isinstance(value, datetime) else value


def commit(records: list[Record]) -> None:
    """Write the rows in one transaction (blocking)."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.executemany(INSERT, [_values(record) for record in records])
                if attempts := [row for record in records for row in _attempts(record)]:
                    Attempt.objects.bulk_create(attempts)
                keys.note_use(record.key_id for record in records)
            return
        except AWAY:
            connection.close()
            if attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE)


Waiting = tuple[Record, asyncio.Future[None]]


class Meter:
    """The writer of one event loop. `write` returns when the row is committed."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._last: asyncio.Future[None] | None = None
        self._stirred = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "meter")
        self._writer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._writer = asyncio.create_task(self._write_groups())

    async def close(self) -> None:
        """Commit what waits, then stop."""
        await self.written()
        if self._writer:
            self._writer.cancel()
        self._thread.submit(lambda: connection.close())  # the connection of that thread
        self._thread.shutdown(wait=True)

    def write(self, record: Record) -> asyncio.Future[None]:
        """Done when the row is committed. Awaiting it raises Problem when the ledger cannot be written."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((record, done))
        self._last = done
        self._stirred.set()
        return done

    async def written(self) -> None:
        """Wait until every row handed over so far is committed, or was given up."""
        if self._last is not None:  # rows are written in their order
            await asyncio.wait({self._last})

    async def _write_groups(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            group, self._waiting = self._waiting, []
            await self._write_group(group)

    async def _write_group(self, group: list[Waiting]) -> None:
        """Commit and release. A row that cannot be written at all must fail neither its neighbours nor the writer."""
        error: Problem | None = None
        try:
            records = [record for record, _ in group]
            await asyncio.get_running_loop().run_in_executor(self._thread, commit, records)
        except Exception as failure:
            if len(group) > 1 and not isinstance(failure, AWAY):
                for one in group:
                    await self._write_group([one])
                return
            logger.exception("%d usage rows could not be written", len(group))
            error = Problem("overloaded", "The usage ledger cannot be written at the moment; try again.")
        for _, done in group:
            if not done.done():
                done.set_exception(error) if error else done.set_result(None)


def write_check(made: MeteredCall) -> None:
    """Write down a paid call of a health check or test, under its system principal."""
    target = made.target
    record = Record.of(made.principal, target.mode, "health", new_request_id())
    record.model = made.model.public_id if made.model else target.upstream_id
    if made.connection is not None:
        record.connection_id, record.connection = made.connection.pk, made.connection.name
    record.model_id = made.model.pk if made.model else None
    record.upstream_model, record.finish_reason = made.upstream_model[:300], made.finish_reason
    record.total_ms = made.total_ms
    record.take_usage(made.usage)
    if made.error is not None:
        record.fail(Problem.of(made.error))
    record.price(made.provider, target, [made.model.own_price] if made.model and made.model.own_price else [])
    commit([record])
