"""Accepted asynchronous work."""

import uuid

from django.db import models
from django.utils import timezone

from access.models import User
from access.principal import Principal


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

    def request_id_of(self, claim: int) -> str:
        """Of the one call that a claim makes: it can be written down only once, by whoever comes first."""
        return f"req_{self.pk.hex}{claim}"
