"""What the path of a prompt knows: one immutable picture of keys, users, models and grants in memory.

`gateway.snapshots` makes it, and another one whenever the configuration changes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from access.principal import Principal
from access.roles import Permission
from connections.prices import OwnPrice
from connections.providers.calls import Mode, Target
from connections.providers.contract import Provider
from connections.providers.errors import ContentFiltered, ContextTooLong, ModelMissing, ProviderError, RequestRefused
from connections.transport import NetworkOptions
from gateway.budgets.rules import Budgets
from gateway.limits.rules import Rules

Source = tuple[Any, ...]
"""What an entry was made from. As long as that stays the same, so does the entry, from snapshot to snapshot."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    principal: Principal
    expires_at: float | None
    """Unix time."""
    source: Source = field(default=(), repr=False, compare=False)

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
    source: Source = field(default=(), repr=False, compare=False)

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
    """A connection's provider, which keeps its access tokens as long as the adapter stays."""

    provider: Provider
    source: Source = field(repr=False)


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
    budgets: Budgets = field(default_factory=Budgets)
    adapters: Mapping[UUID, Adapter] = field(default_factory=dict)
    """Of all running connections that can be read."""

    def current(self, principal: Principal) -> Principal | None:
        """The same principal with the rights it has now; None: its user is gone or disabled."""
        if principal.system or principal.user_id is None:
            return principal
        user = self.users.get(principal.user_id)
        if user is not None and user.group_ids is principal.group_ids and user.role == principal.role:
            return principal  # a key of this snapshot
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
