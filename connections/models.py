"""What: connections with their secrets, the models they allow, who may use them, how they fare."""

import uuid
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pydantic
from django.contrib.auth.models import Group
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from access.models import User
from access.principal import Principal
from access.roles import Permission
from connections import secrets
from connections.engine_rows import Engine, EngineState
from connections.prices import OwnPrice, Shown, own_in_force, shown
from connections.providers import registry
from connections.providers.calls import Mode, ModelInfo, Target
from connections.providers.contract import Provider
from connections.providers.engine_dialect import EngineDialect, Place

__all__ = [
    "MODES",
    "Connection",
    "Engine",
    "EngineState",
    "Grant",
    "HealthCheck",
    "KeyCheck",
    "Model",
    "NotLent",
    "State",
    "lent_to",
    "target_of",
]

MODES = [(mode.value, mode.value.capitalize()) for mode in Mode]


class State(models.TextChoices):
    HEALTHY = "healthy", "Healthy"
    SLOW = "slow", "Slow"
    FAILING = "failing", "Failing"
    UNKNOWN = "unknown", "Unknown"
    PAUSED = "paused", "Paused"


class NotLent(LookupError):
    """A connection points to another one that cannot lend it anything. The text says what to do."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(problem)
        self.setting = setting


class ConnectionQuerySet(models.QuerySet["Connection"]):
    def visible_to(self, user: User) -> "ConnectionQuerySet":
        return self.all() if user.may(Permission.VIEW_CONNECTIONS) else self.none()

    def running(self) -> "ConnectionQuerySet":
        return self.filter(paused=False)

    def lenders(self, kind: type[Provider], settings: Mapping[str, Any]) -> dict[str, "Connection"]:
        """The connections that these settings point to, by the setting's name. Raises NotLent."""
        wanted = {name: lender for name, lender in kind.Settings.lender_kinds().items() if settings.get(name)}
        return {name: self._lender(name, lender, settings[name]) for name, lender in wanted.items()}

    def _lender(self, setting: str, kind: str, given: Any) -> "Connection":
        try:
            found = self.filter(pk=UUID(str(given)), kind=kind).first()
        except ValueError:
            found = None
        if found is None:
            raise NotLent(setting, "The shared connection does not exist. Choose another one.")
        if found.paused:
            raise NotLent(setting, f"The shared connection “{found.name}” is paused. Resume it, or choose another one.")
        return found

    def borrowers(self, lender: "Connection") -> list["Connection"]:
        """The connections whose settings point to this one."""
        settings = {kind: provider.Settings.lender_kinds() for kind, provider in registry.providers().items()}
        names = {kind: [name for name, of in lends.items() if of == lender.kind] for kind, lends in settings.items()}
        rows = self.filter(kind__in=[kind for kind, found in names.items() if found])
        return [row for row in rows if str(lender.pk) in [row.settings.get(name) for name in names[row.kind]]]


class Connection(models.Model):
    """One account at one provider. Secrets are sealed to this row and this revision of them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    slug = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=40, choices=registry.choices)
    settings = models.JSONField(default=dict, blank=True)
    sealed = models.BinaryField(default=b"", blank=True)
    sealed_revision = models.PositiveIntegerField(default=0)
    revision = models.PositiveIntegerField(default=1)
    """Moves with every edit; a form that was opened on an older one is refused."""
    ca_certificate = models.TextField(blank=True)
    """PEM of a private certificate authority to trust for this connection, beside the public ones."""
    check_every = models.PositiveIntegerField(default=60)
    """Seconds between free checks."""
    probe_models = models.BooleanField(default=False)
    """Whether checks may also make one short paid call per model."""
    slow_after_ms = models.PositiveIntegerField(default=2000)
    extra_parameters = models.JSONField(default=list, blank=True)
    """Request fields beyond the common ones that are forwarded; all others are refused."""
    retries = models.PositiveSmallIntegerField(default=2)
    """How often a call that fails for the moment is made again, at most."""
    paused = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=State, default=State.UNKNOWN)
    cause = models.CharField(max_length=300, blank=True)
    evidence = models.CharField(max_length=500, blank=True)
    """The provider's own words, scrubbed; for connection admins."""
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    check_due = models.DateTimeField(default=timezone.now, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ConnectionQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(Lower("name"), name="connection_name_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def provider_class(self) -> type[Provider]:
        return registry.providers()[self.kind]

    @property
    def _binding(self) -> bytes:
        return secrets.binding("connections_connection", self.pk, "sealed", self.sealed_revision)

    def credential(self) -> secrets.Secrets:
        """The decrypted credential. Raises `secrets.Unreadable`."""
        return secrets.unseal(bytes(self.sealed), self._binding) if self.sealed else secrets.Secrets()

    def store_credential(self, values: Mapping[str, str]) -> None:
        """Seal `values` in place of what was there; the caller saves `sealed` and `sealed_revision`."""
        self.sealed_revision += 1
        self.sealed = secrets.seal(values, self._binding) if values else b""

    def provider(self) -> Provider:
        """The adapter, ready for calls. Raises `secrets.Unreadable`, pydantic's ValidationError and NotLent."""
        kind = self.provider_class
        settings = kind.Settings.model_validate({**self.settings, **self.credential()})
        made = kind(settings, lent_to(kind, self.settings))
        return made.at(self.place) if isinstance(made, EngineDialect) else made

    @property
    def place(self) -> Place | None:
        """Where its engine listens; None: it has none, or it does not run."""
        engine = Engine.objects.filter(pk=self.pk).first() if self.provider_class.engine else None
        return engine.place if engine else None

    @property
    def shown_state(self) -> str:
        return State.PAUSED if self.paused else self.state


def lent_to(kind: type[Provider], settings: Mapping[str, Any]) -> dict[str, Provider]:
    """What other connections lend to one with these settings. Raises NotLent."""
    return {name: _lent(name, lender) for name, lender in Connection.objects.lenders(kind, settings).items()}


def _lent(setting: str, lender: Connection) -> Provider:
    try:
        return lender.provider()
    except (secrets.Unreadable, pydantic.ValidationError, LookupError) as error:
        raise NotLent(setting, f"The shared connection “{lender.name}” cannot be used: see its own page.") from error


class ModelQuerySet(models.QuerySet["Model"]):
    def enabled(self) -> "ModelQuerySet":
        return self.filter(enabled=True, connection__paused=False)

    def usable_by(self, principal: Principal) -> "ModelQuerySet":
        """Enabled models granted to one of the principal's groups, within what its role and its key allow."""
        if not principal.may(Permission.USE_MODELS):
            return self.none()
        granted = models.Q(connection__grants__group__in=principal.group_ids) & (
            models.Q(connection__grants__model=None) | models.Q(connection__grants__model=models.F("pk"))
        )
        found = self.enabled().filter(granted).distinct()
        return found if principal.allowed_models is None else found.filter(public_id__in=principal.allowed_models)


class Model(models.Model):
    """One allowed model of a connection."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="models")
    public_id = models.CharField(max_length=300, unique=True)
    """`connection-slug/name`: what callers send as `model`."""
    upstream_id = models.CharField(max_length=300)
    """Model id, deployment, ARN or endpoint at the provider."""
    mode = models.CharField(max_length=12, choices=MODES, default=Mode.CHAT)
    underlying = models.CharField(max_length=200, blank=True)
    note = models.CharField(max_length=200, blank=True)
    """What its users should know, as an admin puts it."""
    capabilities = models.JSONField(default=list, blank=True)
    context = models.PositiveIntegerField(null=True, blank=True)
    max_output = models.PositiveIntegerField(null=True, blank=True)
    options = models.JSONField(default=dict, blank=True)
    """What an admin set for this model, as the provider's `ModelOptions` name it."""
    enabled = models.BooleanField(default=True)
    state = models.CharField(max_length=10, choices=State, default=State.UNKNOWN)
    cause = models.CharField(max_length=300, blank=True)
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ModelQuerySet.as_manager()

    class Meta:
        ordering = ["public_id"]
        constraints = [models.UniqueConstraint("connection", "upstream_id", "mode", name="model_once_per_mode")]

    def __str__(self) -> str:
        return self.public_id

    @property
    def known(self) -> ModelInfo | None:
        """What its provider's catalogue says of it, or of the model behind it."""
        kind = registry.providers().get(self.connection.kind)
        return kind.known(self.target.known_as, self.mode) if kind else None

    @property
    def own_price(self) -> OwnPrice | None:
        """An admin's price that holds now."""
        return own_in_force([price.own for price in self.prices.all()], timezone.now().timestamp())

    @property
    def shown_price(self) -> Shown | None:
        """What it costs now; None: nobody knows."""
        kind = registry.providers().get(self.connection.kind)
        return shown(self.target.known_as, kind.price_provider if kind else "", self.own_price)

    @property
    def target(self) -> Target:
        return target_of(self)


def target_of(row: Any) -> Target:
    """The target of a model, or of something that has its columns."""
    return Target(
        upstream_id=row.upstream_id,
        mode=Mode(row.mode),
        underlying=row.underlying,
        capabilities=frozenset(row.capabilities),
        context=row.context,
        max_output=row.max_output,
        options=row.options,
    )


class Price(models.Model):
    """What an admin says that a model costs, and when that holds. What was charged by it stays charged."""

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="prices")
    amounts = models.JSONField()
    """USD by what is paid for, as `connections.prices.NAMES` has it: `{"input": "0.15", "output": "0.60"}`."""
    starts = models.DateTimeField(default=timezone.now)
    ends = models.DateTimeField(null=True, blank=True)
    """The first moment at which it does not hold any more."""
    note = models.CharField(max_length=200, blank=True)
    """Where it comes from: a contract, a list."""
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-starts", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends=None) | models.Q(ends__gt=models.F("starts")), name="price_ends_after_its_start"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} from {self.starts:%Y-%m-%d}"

    @property
    def own(self) -> OwnPrice:
        return OwnPrice(self.pk, self.amounts, self.starts.timestamp(), self.ends.timestamp() if self.ends else None)

    @property
    def running(self) -> bool:
        now = timezone.now()
        return self.starts <= now and (self.ends is None or now < self.ends)

    @property
    def over(self) -> bool:
        return self.ends is not None and self.ends <= timezone.now()


class Grant(models.Model):
    """A group may use a connection's models: all of them, or the one named."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="grants")
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="grants")
    model = models.ForeignKey(Model, on_delete=models.CASCADE, null=True, blank=True, related_name="grants")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint("group", "connection", "model", name="grant_once_per_model"),
            models.UniqueConstraint("group", "connection", condition=models.Q(model=None), name="grant_once"),
        ]

    def __str__(self) -> str:
        return f"{self.group} → {self.model or self.connection}"


class HealthCheck(models.Model):
    """What one check found."""

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="checks")
    model = models.ForeignKey(Model, on_delete=models.CASCADE, null=True, related_name="checks")
    at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=10, choices=State)
    total_ms = models.PositiveIntegerField()
    stages = models.JSONField(default=list)
    """`[{"name": "DNS and TLS", "ok": true, "ms": 12, "detail": ""}, …]`"""
    cause = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["connection", "-id"])]

    def as_dict(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "state": self.state, "ms": self.total_ms, "cause": self.cause}


class KeyCheck(models.Model):
    """One sealed row: only the encryption keys that the stored credentials need can open it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    sealed = models.BinaryField()

    @classmethod
    def confirm(cls) -> None:
        """Prove that the configured keys are the right ones. Raises `secrets.Unreadable`, and writes nothing then."""
        if row := cls.objects.first():
            secrets.unseal(bytes(row.sealed), row._binding)
            return
        first = cls()
        first.sealed = secrets.seal({"purpose": "key check"}, first._binding)
        first.save(force_insert=True)

    @property
    def _binding(self) -> bytes:
        return secrets.binding("connections_keycheck", self.pk, "sealed", 1)
