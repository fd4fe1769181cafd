"""Makes the snapshot from the database, and keeps the one of this process new.

It is made anew when the configuration's version moves: announced through Valkey, polled every second. Of the former
one, everything stays whose rows have not changed; so a large company's is read again in a fraction of a second, and
calls under way hardly notice.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import redis.asyncio
from django.conf import settings
from django.contrib.auth.models import Group
from django.db.models import Prefetch
from django.db.models.functions import Now
from pydantic import ValidationError

from access.audit import VERSION_CHANNEL
from access.authentication import narrowed
from access.models import EVERYONE, ApiKey, ConfigurationVersion, User
from access.principal import Principal
from access.threads import in_thread
from connections.models import Connection, Grant, Model, Price, State, target_of
from connections.prices import OwnPrice
from connections.providers.contract import Provider
from connections.secrets import Unreadable
from connections.transport import NetworkOptions
from gateway.budgets.rules import BudgetEntry, Budgets
from gateway.limits.rules import LimitEntry, Rules
from gateway.models import Budget, BudgetOverride, Limit, Route
from gateway.snapshot import Adapter, KeyEntry, ModelEntry, RouteEntry, Snapshot, Source, TargetEntry

POLL_SECONDS = 1.0
KEY_COLUMNS = ("public_id", "scopes", "allowed_models", "expires_at")
MODEL_COLUMNS = ("id", "public_id", "upstream_id", "mode", "underlying", "capabilities", "context", "max_output",
                 "options", "created_at")  # fmt: skip
logger = logging.getLogger(__name__)
Entry = TypeVar("Entry", KeyEntry, ModelEntry)
NOBODY: frozenset[int] = frozenset()
Row = Any
"""Named columns: of a query that makes no instances, which would take most of the time."""


def build(former: Snapshot) -> Snapshot:
    """Read everything from the database (blocking). What of `former` has not changed stays as it is."""
    version = _newest_version()  # before all else: what changes meanwhile leads to another build
    users = _users(former.users)
    connections = list(Connection.objects.running())
    adapters = _adapters(connections, former.adapters)
    models = _models(_accounts(connections, adapters), former.models)
    keys = _keys(users, former.keys)
    return Snapshot(version, keys, users, models, _routes(models), _limits(), _budgets(), adapters)


def _same(former: Entry | None, source: Source) -> Entry | None:
    """The former entry, if it was made from the same."""
    return former if former is not None and former.source == source else None


# --- who asks


def _users(former: Mapping[int, Principal]) -> dict[int, Principal]:
    everyone = set(Group.objects.filter(name=EVERYONE).values_list("pk", flat=True))
    members: dict[int, set[int]] = {}
    for user_id, group_id in User.groups.through.objects.values_list("user_id", "group_id"):
        members.setdefault(user_id, set()).add(group_id)
    found = {}
    for pk, username, role in User.objects.filter(is_active=True).values_list("pk", "username", "role"):
        principal = Principal(pk, username, role, frozenset(members.get(pk, set()) | everyone))
        known = former.get(pk)
        found[pk] = known if known == principal else principal
    return found


def _keys(users: Mapping[int, Principal], former: Mapping[str, KeyEntry]) -> dict[str, KeyEntry]:
    rows = ApiKey.objects.filter(revoked_at=None).order_by().values_list("digest", "owner_id", *KEY_COLUMNS, named=True)
    return {
        row.digest: _same(former.get(row.digest), (row, owner)) or _key(row, owner)
        for row in rows
        if (owner := users.get(row.owner_id))
    }


def _key(row: Row, owner: Principal) -> KeyEntry:
    expires_at = row.expires_at.timestamp() if row.expires_at else None
    return KeyEntry(narrowed(owner, row), expires_at, source=(row, owner))


# --- what can be asked


@dataclass(frozen=True, slots=True)
class Account:
    """What all models of one connection have in common."""

    id: UUID
    name: str
    provider: Provider
    options: NetworkOptions
    extra: frozenset[str]
    """Request fields that it lets through."""
    retries: int
    failing: bool


def _adapters(connections: Iterable[Connection], former: Mapping[UUID, Adapter]) -> dict[UUID, Adapter]:
    found = {}
    for connection in connections:
        if adapter := _adapter(connection, former.get(connection.pk)):
            found[connection.pk] = adapter
    return found


def _adapter(connection: Connection, former: Adapter | None) -> Adapter | None:
    """The adapter of a connection; None when its credential or settings cannot be read, which its page says."""
    try:
        lenders = Connection.objects.lenders(connection.provider_class, connection.settings).values()
        source = tuple(map(_source, (connection, *lenders)))
        if former is not None and former.source == source:
            return former
        return Adapter(connection.provider(), source)
    except (Unreadable, ValidationError, LookupError) as error:
        logger.warning("Connection %s is left out: %s", connection.pk, type(error).__name__)
        return None


def _source(connection: Connection) -> tuple[Any, ...]:
    sealed = bytes(connection.sealed), connection.sealed_revision
    return connection.pk, connection.kind, connection.settings, *sealed, connection.place


def _accounts(connections: Iterable[Connection], adapters: Mapping[UUID, Adapter]) -> dict[UUID, Account]:
    return {
        connection.pk: Account(
            id=connection.pk,
            name=connection.name,
            provider=adapters[connection.pk].provider,
            options=NetworkOptions(ca_certificate=connection.ca_certificate),
            extra=frozenset(connection.extra_parameters),
            retries=connection.retries,
            failing=connection.state == State.FAILING,
        )
        for connection in connections
        if connection.pk in adapters
    }


def _models(accounts: Mapping[UUID, Account], former: Mapping[str, ModelEntry]) -> dict[str, ModelEntry]:
    groups, prices, found = _granted(), _prices(), {}
    rows = Model.objects.filter(enabled=True).order_by("public_id")
    for row in rows.values_list("connection_id", *MODEL_COLUMNS, named=True):
        if account := accounts.get(row.connection_id):
            granted = groups.get(row.connection_id, NOBODY) | groups.get(row.id, NOBODY)
            source = row, account, granted, prices.get(row.id, ())
            found[row.public_id] = _same(former.get(row.public_id), source) or _model(*source)
    return found


def _granted() -> dict[UUID, frozenset[int]]:
    """The groups of each grant's model, or of its connection where it is about all models."""
    found: dict[UUID, frozenset[int]] = {}
    for group, connection, only in Grant.objects.values_list("group_id", "connection_id", "model_id"):
        found[only or connection] = found.get(only or connection, NOBODY) | {group}
    return found


def _prices() -> dict[UUID, list[OwnPrice]]:
    found: dict[UUID, list[OwnPrice]] = {}
    for price in Price.objects.all():
        found.setdefault(price.model_id, []).append(price.own)
    return found


def _model(row: Row, account: Account, groups: frozenset[int], prices: Sequence[OwnPrice]) -> ModelEntry:
    target = target_of(row)
    return ModelEntry(
        id=row.id,
        public_id=row.public_id,
        mode=target.mode,
        connection_id=account.id,
        connection=account.name,
        provider=account.provider,
        target=target,
        options=account.options,
        forwarded=account.extra | frozenset(account.provider.parameters_for(target).rules),
        prices=prices,
        groups=groups,
        created=int(row.created_at.timestamp()),
        retries=account.retries,
        failing=account.failing,
        source=(row, account, groups, prices),
    )


def _routes(models: Mapping[str, ModelEntry]) -> dict[str, RouteEntry]:
    by_id = {entry.id: entry for entry in models.values()}
    return {
        route.name: RouteEntry(
            name=route.name,
            strategy=route.strategy,
            targets=[
                TargetEntry(by_id[target.model_id], target.weight, target.priority)
                for target in route.targets.all()
                if target.model_id in by_id
            ],
            on_error=route.on_error,
            on_context=route.on_context,
            on_filter=route.on_filter,
            created=int(route.created_at.timestamp()),
        )
        for route in Route.objects.filter(enabled=True).prefetch_related("targets")
    }


def _limits() -> Rules:
    columns = ("pk", "scope", "subject", "what", "amount", "seconds")
    return Rules(LimitEntry(*row) for row in Limit.objects.filter(enabled=True).order_by().values_list(*columns))


def _budgets() -> Budgets:
    held = Prefetch("overrides", BudgetOverride.objects.filter(revoked_at=None, until__gt=Now()))
    rows = Budget.objects.filter(enabled=True).prefetch_related(held).order_by()
    return Budgets(BudgetEntry.of(row, row.overrides.all()) for row in rows)


def _newest_version() -> int:
    return ConfigurationVersion.objects.values_list("number", flat=True).first() or 0


class Snapshots:
    """Holds the current snapshot of one process and keeps it new."""

    def __init__(self) -> None:
        self.current = Snapshot()
        self._stirred = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.refresh()
        self._tasks = [asyncio.create_task(self._watch())]
        if settings.REDIS_URL:
            self._tasks.append(asyncio.create_task(self._listen()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def refresh(self) -> None:
        self.current = await in_thread(build, self.current)

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._stirred.wait()
            except TimeoutError:
                pass
            self._stirred.clear()
            try:
                if await in_thread(_newest_version) != self.current.version:
                    await self.refresh()
            except Exception:
                logger.exception("The configuration could not be read; going on with what is known")

    async def _listen(self) -> None:
        """Wait for announcements; whatever goes wrong here, the poll still sees every change."""
        while True:
            try:
                async with redis.asyncio.Redis.from_url(settings.REDIS_URL) as client, client.pubsub() as channel:
                    await channel.subscribe(VERSION_CHANNEL)
                    async for _ in channel.listen():
                        self._stirred.set()
            except (redis.RedisError, OSError):
                await asyncio.sleep(1)
