"""The ledger of calls, and accepted asynchronous work."""

import uuid

from django.db import models
from django.utils import timezone

from access.models import User
from access.principal import Principal
from access.roles import Permission


class UsageQuerySet(models.QuerySet["Usage"]):
    def visible_to(self, user: User) -> "UsageQuerySet":
        return self.all() if user.may(Permission.VIEW_USAGE) else self.filter(user_id=user.pk)


class Usage(models.Model):
    """One client call. Plain columns instead of foreign keys: the ledger outlives what it names."""

    class State(models.TextChoices):
        OK = "ok", "Answered"
        ERROR = "error", "Failed"
        CANCELLED = "cancelled", "Client left"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request_id = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)
    source = models.CharField(max_length=12)
    """v1, playground, generation, health"""
    mode = models.CharField(max_length=12)
    principal = models.CharField(max_length=150)
    user_id = models.BigIntegerField(null=True, db_index=True)
    key_id = models.CharField(max_length=10, blank=True)
    connection_id = models.UUIDField(null=True, db_index=True)
    connection = models.CharField(max_length=80, blank=True)
    model_id = models.UUIDField(null=True)
    model = models.CharField(max_length=300)
    """Of a call to a route: the one that served."""
    route = models.CharField(max_length=80, blank=True)
    upstream_model = models.CharField(max_length=300, blank=True)
    """What the provider says it used."""
    stream = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=State)
    status = models.PositiveSmallIntegerField()
    error_code = models.CharField(max_length=40, blank=True)
    finish_reason = models.CharField(max_length=20, blank=True)
    prompt_tokens = models.BigIntegerField(null=True)
    completion_tokens = models.BigIntegerField(null=True)
    cached_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    images = models.PositiveIntegerField(default=0)
    search_units = models.PositiveIntegerField(default=0)
    estimated = models.BooleanField(default=False)
    suspect = models.BooleanField(default=False)
    cost = models.BigIntegerField(null=True, help_text="10⁻⁹ USD; null: the price or the tokens are unknown.")
    price_source = models.CharField(max_length=60, blank=True)
    """Where the price came from, with its version: `genai-prices 0.2.3`, or `own price`."""
    first_token_ms = models.PositiveIntegerField(null=True)
    total_ms = models.PositiveIntegerField()
    adjusted = models.JSONField(default=list)

    objects = UsageQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.request_id} {self.model}"


class Attempt(models.Model):
    """One upstream call of a client call that failed, or that took more than one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    usage = models.ForeignKey(Usage, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    connection_id = models.UUIDField()
    connection = models.CharField(max_length=80)
    model_id = models.UUIDField()
    model = models.CharField(max_length=300)
    state = models.CharField(max_length=10, choices=Usage.State)
    error_code = models.CharField(max_length=40, blank=True)
    upstream_status = models.PositiveSmallIntegerField(null=True)
    """What the provider answered with, where it answered."""
    prompt_tokens = models.BigIntegerField(null=True)
    completion_tokens = models.BigIntegerField(null=True)
    cost = models.BigIntegerField(null=True, help_text="10⁻⁹ USD; null: the price or the tokens are unknown.")
    total_ms = models.PositiveIntegerField()

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint("usage", "number", name="attempt_once")]

    def __str__(self) -> str:
        return f"{self.number}: {self.model}"


class Route(models.Model):
    """A name of one's own for several models: callers send it as `model`."""

    class Strategy(models.TextChoices):
        WEIGHT = "weight", "By weight"
        LEAST_BUSY = "least_busy", "Least busy first"
        LATENCY = "latency", "Fastest first"
        PRICE = "price", "Cheapest first"

    name = models.CharField(max_length=80, unique=True)
    """Without a slash, which every model's public id has."""
    strategy = models.CharField(max_length=12, choices=Strategy, default=Strategy.WEIGHT)
    on_error = models.BooleanField(default=True)
    """Whether the next target is asked after a failure of the provider …"""
    on_context = models.BooleanField(default=True)
    """… a prompt that is too long for the model …"""
    on_filter = models.BooleanField(default=False)
    """… and a refusal by the provider's policy."""
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class RouteTarget(models.Model):
    """One model of a route."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="targets")
    model = models.ForeignKey("connections.Model", on_delete=models.CASCADE, related_name="route_targets")
    weight = models.PositiveSmallIntegerField(default=1)
    """Its share of the calls among targets of the same priority."""
    priority = models.PositiveSmallIntegerField(default=1)
    """Targets of 1 come first."""

    class Meta:
        ordering = ["priority", "id"]
        constraints = [
            models.UniqueConstraint("route", "model", name="route_target_once"),
            models.CheckConstraint(condition=models.Q(weight__gte=1), name="route_target_has_weight"),
        ]

    def __str__(self) -> str:
        return f"{self.route}: {self.model}"


class JobQuerySet(models.QuerySet["Job"]):
    def visible_to(self, principal: Principal) -> "JobQuerySet":
        """One's own; through a key that is limited to some models, those of these models."""
        own = self.filter(owner=principal.user_id)
        return own if principal.allowed_models is None else own.filter(model__in=principal.allowed_models)


class Job(models.Model):
    """Accepted asynchronous work. This table is the queue; Celery messages only wake (see `gateway.jobs`)."""

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    TERMINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="jobs")
    key_id = models.CharField(max_length=10, blank=True)
    mode = models.CharField(max_length=12)
    model = models.CharField(max_length=300)
    request = models.JSONField()
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    fence = models.PositiveIntegerField(default=0)
    """Number of the claim that may write; a worker that lost its lease holds an older one."""
    lease_until = models.DateTimeField(null=True)
    deadline = models.DateTimeField()
    cancel_requested = models.BooleanField(default=False)
    progress = models.PositiveIntegerField(default=0)
    """Characters generated so far."""
    result = models.JSONField(null=True)
    error = models.JSONField(null=True)
    request_id = models.CharField(max_length=40, blank=True)
    """Of the usage row of the claim that ended it."""
    created_at = models.DateTimeField(default=timezone.now)
    announced_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["state", "lease_until"])]

    def __str__(self) -> str:
        return str(self.pk)


PERIODS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
"""What limits are per, by their seconds."""


def pace(what: str, amount: int, seconds: float) -> str:
    """ "60 requests per minute", "1 call at once"."""
    unit = "calls" if what == "parallel" else what
    unit = unit.removesuffix("s") if amount == 1 else unit
    return f"{amount:,} {unit} {f'per {period(seconds)}' if seconds else 'at once'}"


def period(seconds: float) -> str:
    """Empty for none."""
    return PERIODS.get(int(seconds), f"{seconds:g} s") if seconds else ""


class Limit(models.Model):
    """How fast, or how many at once, somebody or something may be asked for."""

    class Scope(models.TextChoices):
        ALL = "all", "Everybody together"
        USER = "user", "One user"
        EACH_USER = "each_user", "Each user"
        KEY = "key", "One API key"
        EACH_KEY = "each_key", "Each API key"
        GROUP = "group", "One group together"
        MODEL = "model", "One model"
        CONNECTION = "connection", "One connection"

    class What(models.TextChoices):
        REQUESTS = "requests", "Requests"
        TOKENS = "tokens", "Tokens"
        PARALLEL = "parallel", "Parallel calls"

    scope = models.CharField(max_length=12, choices=Scope)
    subject = models.CharField(max_length=300, blank=True)
    """User id, key's public id, group id, public id of the model or id of the connection; empty where all are meant."""
    what = models.CharField(max_length=10, choices=What)
    amount = models.PositiveBigIntegerField()
    seconds = models.PositiveIntegerField(default=60)
    """In which `amount` is given anew; 0 for parallel calls."""
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["scope", "subject", "what"]
        constraints = [
            models.UniqueConstraint("scope", "subject", "what", "seconds", name="limit_once"),
            models.CheckConstraint(condition=models.Q(amount__gte=1), name="limit_lets_something_through"),
        ]

    def __str__(self) -> str:
        return f"{self.text} for {self.scope} {self.subject}".rstrip()

    @property
    def text(self) -> str:
        """What it lets through: "60 requests per minute"."""
        return pace(self.what, self.amount, self.seconds)

    @property
    def period(self) -> str:
        """Empty for parallel calls."""
        return period(self.seconds)

    @property
    def shared(self) -> bool:
        """One counter for all whom it is about; else each user or key has one."""
        return self.scope not in {self.Scope.EACH_USER, self.Scope.EACH_KEY}
