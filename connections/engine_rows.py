"""What is wanted of each engine process, and what its supervisor last saw of it.

The row is the only thing that passes between the pages and the process that runs engines: a page sets `wanted`,
the supervisor writes down everything else. So both may be on different machines.
"""

import secrets as random
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from connections import secrets
from connections.providers.engine_dialect import Place

SILENT_AFTER = timedelta(seconds=30)
"""A supervisor that was not heard of for so long is gone, and another one may take its engines over."""


class EngineState(models.TextChoices):
    STOPPED = "stopped", "Stopped"
    LOADING = "loading", "Loading"
    RUNNING = "running", "Running"
    FAILED = "failed", "Failed"


class EngineQuerySet(models.QuerySet["Engine"]):
    def to_run(self) -> "EngineQuerySet":
        return self.filter(wanted=True, connection__paused=False)

    def claim(self, owner: str) -> bool:
        """Whether these are now the owner's: nobody had them, or nobody who still lives."""
        free = models.Q(owner__in=["", owner]) | models.Q(seen_at=None) | models.Q(seen_at__lt=Now() - SILENT_AFTER)
        return bool(self.filter(free).update(owner=owner, seen_at=Now()))


class Engine(models.Model):
    """The engine of one connection."""

    connection = models.OneToOneField(
        "connections.Connection", primary_key=True, on_delete=models.CASCADE, related_name="engine"
    )
    wanted = models.BooleanField(default=True)
    starts = models.PositiveIntegerField(default=0)
    """Moves with each start that somebody asks for, so that one that was given up is tried again."""
    state = models.CharField(max_length=10, choices=EngineState, default=EngineState.STOPPED)
    percent = models.PositiveSmallIntegerField(default=0)
    reason = models.CharField(max_length=300, blank=True)
    """Why it failed."""
    address = models.CharField(max_length=200, blank=True)
    """Where it listens; empty: nowhere."""
    sealed = models.BinaryField(default=b"", blank=True)
    """The key it asks for, sealed to this row; a new one for each start."""
    described = models.JSONField(default=list, blank=True)
    """What the running engine says of its models."""
    log = models.TextField(blank=True)
    """Its last lines, without any secret."""
    owner = models.CharField(max_length=120, blank=True)
    """The supervisor that runs it."""
    seen_at = models.DateTimeField(null=True, blank=True)
    """When the supervisor last gave a sign of life."""

    objects = EngineQuerySet.as_manager()

    def __str__(self) -> str:
        return f"the engine of {self.connection}"

    @property
    def _binding(self) -> bytes:
        return secrets.binding("connections_engine", self.pk, "sealed", 1)

    def new_key(self) -> str:
        """A key for the next start, sealed; the caller saves `sealed`."""
        key = random.token_urlsafe(32)
        self.sealed = secrets.seal({"key": key}, self._binding)
        return key

    @property
    def place(self) -> Place | None:
        """Where to reach it; None: it does not run. Raises `secrets.Unreadable`."""
        if not self.address or not self.sealed:
            return None
        return Place(self.address, secrets.unseal(bytes(self.sealed), self._binding)["key"])

    @property
    def is_watched(self) -> bool:
        """Whether a supervisor is there that could run it."""
        return self.seen_at is not None and timezone.now() - self.seen_at < SILENT_AFTER

    @property
    def is_moving(self) -> bool:
        """Whether its state will soon be another one."""
        return self.state == EngineState.LOADING or self.wanted == (self.state == EngineState.STOPPED)

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """What each call may set, as the running class says."""
        return [one for model in self.described[:1] for one in model.get("parameters", [])]
