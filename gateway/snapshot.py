"""What the path of a prompt knows: one immutable picture of keys, users, models and grants in memory.

It is rebuilt whole when the configuration's version moves: announced through Valkey, polled every second.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import redis.asyncio
from django.conf import settings
from django.contrib.auth.models import Group
from pydantic import ValidationError

from access.audit import VERSION_CHANNEL
from access.authentication import narrowed
from access.models import EVERYONE, ApiKey, ConfigurationVersion, User
from access.principal import Principal
from access.roles import Permission
from access.threads import in_thread
from connections.models import Connection, Grant, Model, State
from connections.prices import OwnPrice
from connections.providers.calls import Mode, Target
from connections.providers.contract import Provider
from connections.providers.errors import ContentFiltered, ContextTooLong, ModelMissing, ProviderError, RequestRefused
from connections.secrets import Unreadable
from connections.transport import NetworkOptions
from gateway.limits.rules import LimitEntry, Rules
from gateway.models import Limit, Route

POLL_SECONDS = 1.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    principal: Principal
    expires_at: float | None
    """Unix time."""

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.time()


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """An enabled model of a running connection, ready to be called."""

    id: UUID
    public_id: str
    mode: Mode
    connection_id: UUID
    connection: str
    provider: Provider
    target: Target
    options: NetworkOptions
    forwarded: frozenset[str]
    """Field names that pass to the provider: its own beyond the common ones, and what the connection lets through."""
    prices: Sequence[OwnPrice]
    """What admins set, past and to come; usually nothing."""
    groups: frozenset[int]
    """Groups that may use it."""
    created: int
    """Unix time."""
    retries: int
    """The most that its connection allows."""
    failing: bool
    """Whether the last check of its connection found it failing."""

    def granted_to(self, principal: Principal) -> bool:
        return principal.system or not self.groups.isdisjoint(principal.group_ids)


@dataclass(frozen=True, slots=True)
class TargetEntry:
    model: ModelEntry
    weight: int
    priority: int


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """An enabled route with those of its targets that can be called."""

    name: str
    strategy: str
    targets: Sequence[TargetEntry]
    on_error: bool
    on_context: bool
    on_filter: bool
    created: int

    def open_to(self, principal: Principal) -> list[TargetEntry]:
        """The targets that the principal may use. A key limited to models names the route, or each of them."""
        permitted = principal.allowed_models
        named = permitted is None or self.name in permitted
        return [
            target
            for target in self.targets
            if target.model.granted_to(principal) and (named or target.model.public_id in (permitted or ()))
        ]

    def goes_on_after(self, error: ProviderError) -> bool:
        """Whether the next target is worth asking; most refusals of a request would be its answer too."""
        if isinstance(error, ContextTooLong):
            return self.on_context
        if isinstance(error, ContentFiltered):
            return self.on_filter
        return self.on_error and (isinstance(error, ModelMissing) or not isinstance(error, RequestRefused))


def may_ask(principal: Principal) -> bool:
    """Whether its role lets it ask models at all: a key outlives its owner's role."""
    return principal.system or principal.may(Permission.USE_MODELS)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A connection's provider, and what it was made from: as long as that stays, it keeps its access tokens."""

    provider: Provider
    source: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    version: int = 0
    keys: Mapping[str, KeyEntry] = field(default_factory=dict)
    """Neither revoked nor of a disabled owner, by the digest of the key."""
    users: Mapping[int, Principal] = field(default_factory=dict)
    """Active users."""
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    """By public id."""
    routes: Mapping[str, RouteEntry] = field(default_factory=dict)
    """By name."""
    limits: Rules = field(default_factory=Rules)
    adapters: Mapping[UUID, Adapter] = field(default_factory=dict)
    """Of all running connections that can be read."""

    def current(self, principal: Principal) -> Principal | None:
        """The same principal with the rights it has now; None: its user is gone or disabled."""
        if principal.system or principal.user_id is None:
            return principal
        user = self.users.get(principal.user_id)
        return replace(principal, role=user.role, group_ids=user.group_ids) if user else None

    def allowed(self, principal: Principal) -> list[ModelEntry]:
        if not may_ask(principal):
            return []
        permitted = principal.allowed_models
        return [
            entry
            for entry in self.models.values()
            if entry.granted_to(principal) and (permitted is None or entry.public_id in permitted)
        ]

    def allowed_routes(self, principal: Principal) -> list[RouteEntry]:
        return [route for route in self.routes.values() if route.open_to(principal)] if may_ask(principal) else []


def build(former: Snapshot) -> Snapshot:
    """Read everything from the database (blocking); adapters of `former` whose connections did not change stay."""
    version, users = _newest_version(), _users()  # the version first: what changes meanwhile leads to another build
    adapters = _adapters(former.adapters)
    models = _models(adapters)
    return Snapshot(version, _keys(users), users, models, _routes(models), _limits(), adapters)


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


def _users() -> dict[int, Principal]:
    everyone = set(Group.objects.filter(name=EVERYONE).values_list("pk", flat=True))
    members: dict[int, set[int]] = {}
    for user_id, group_id in User.groups.through.objects.values_list("user_id", "group_id"):
        members.setdefault(user_id, set()).add(group_id)
    return {
        pk: Principal(pk, username, role, frozenset(members.get(pk, set()) | everyone))
        for pk, username, role in User.objects.filter(is_active=True).values_list("pk", "username", "role")
    }


def _keys(users: Mapping[int, Principal]) -> dict[str, KeyEntry]:
    return {
        key.digest: KeyEntry(
            narrowed(users[key.owner_id], key),
            key.expires_at.timestamp() if key.expires_at else None,
        )
        for key in ApiKey.objects.filter(revoked_at=None)
        if key.owner_id in users
    }


def _adapters(former: Mapping[UUID, Adapter]) -> dict[UUID, Adapter]:
    found = {}
    for connection in Connection.objects.running():
        if adapter := _adapter(connection, former.get(connection.pk)):
            found[connection.pk] = adapter
    return found


def _models(adapters: Mapping[UUID, Adapter]) -> dict[str, ModelEntry]:
    grants: dict[UUID, list[tuple[int, UUID | None]]] = {}
    for group, connection, only in Grant.objects.values_list("group_id", "connection_id", "model_id"):
        grants.setdefault(connection, []).append((group, only))
    found = {}
    for model in Model.objects.enabled().select_related("connection").prefetch_related("prices").order_by("public_id"):
        adapter = adapters.get(model.connection_id)
        if adapter is not None:
            found[model.public_id] = _entry(model, adapter.provider, grants.get(model.connection_id, []))
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


def _entry(model: Model, provider: Provider, grants: Iterable[tuple[int, UUID | None]]) -> ModelEntry:
    connection, target = model.connection, model.target
    table = provider.parameters_for(target)
    return ModelEntry(
        id=model.pk,
        public_id=model.public_id,
        mode=Mode(model.mode),
        connection_id=connection.pk,
        connection=connection.name,
        provider=provider,
        target=target,
        options=NetworkOptions(ca_certificate=connection.ca_certificate),
        forwarded=frozenset(connection.extra_parameters) | frozenset(table.rules),
        prices=[price.own for price in model.prices.all()],
        groups=frozenset(group for group, only in grants if only is None or only == model.pk),
        created=int(model.created_at.timestamp()),
        retries=connection.retries,
        failing=connection.state == State.FAILING,
    )


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
