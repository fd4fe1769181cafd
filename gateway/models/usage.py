"""The ledger of calls: each with its attempts, and their sums."""

import uuid
from typing import Any

from django.db import models
from django.utils import timezone

from access.models import User
from access.roles import Permission


class UsageQuerySet(models.QuerySet[Any]):
    """Of calls, or of what they add up to."""

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
    budgets = models.JSONField(default=list)
    """Ids of the windows of budgets on which it is booked."""

    objects = UsageQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.request_id} {self.model}"


class Attempt(models.Model):
    """One upstream call of a client call that failed, or that took more than one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    usage = models.ForeignKey(Usage, on_delete=models.CASCADE, related_name="attempts", db_constraint=False)
    """Not the database's concern: on PostgreSQL both lie in months, which go one by one."""
    at = models.DateTimeField(default=timezone.now)
    """When the call began: its row and this one lie in the same month."""
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


class Period(models.TextChoices):
    """For what lengths of time calls are added up."""

    HOUR = "hour", "Hour"
    DAY = "day", "Day"


class UsageSum(models.Model):
    """What the calls of one hour or day, alike in all of the names here, add up to."""

    period = models.CharField(max_length=4, choices=Period)
    start = models.DateTimeField()
    user_id = models.BigIntegerField(null=True)
    principal = models.CharField(max_length=150)
    key_id = models.CharField(max_length=10, blank=True)
    connection_id = models.UUIDField(null=True)
    connection = models.CharField(max_length=80, blank=True)
    model = models.CharField(max_length=300)
    route = models.CharField(max_length=80, blank=True)
    source = models.CharField(max_length=12)
    mode = models.CharField(max_length=12)
    state = models.CharField(max_length=10, choices=Usage.State)
    calls = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField(null=True, help_text="Null, as of the other sums: no call told any.")
    completion_tokens = models.BigIntegerField(null=True)
    cached_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    images = models.BigIntegerField()
    search_units = models.BigIntegerField()
    cost = models.BigIntegerField(null=True, help_text="10⁻⁹ USD; null: of no call is the cost known.")
    unpriced = models.BigIntegerField()
    """Calls without a known cost."""
    total_ms = models.BigIntegerField()
    latency = models.JSONField()
    """Calls by how long they took, in steps of 5 %; see `gateway.ledger.latency`."""

    objects = UsageQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["period", "start"], name="usage_sum_period"),
            models.Index(fields=["user_id", "period", "start"], name="usage_sum_user"),
        ]


class AddedUp(models.Model):
    """An hour or a day of which there are sums."""

    period = models.CharField(max_length=4, choices=Period)
    start = models.DateTimeField()
    stale = models.BooleanField(default=False)
    """Rows were written since: the sums do not count until they are made anew."""

    class Meta:
        constraints = [models.UniqueConstraint("period", "start", name="added_up_once")]
