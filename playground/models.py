"""What an analyst asked and got."""

import uuid
from datetime import timedelta
from typing import Any

from django.db import models
from django.utils import timezone

from access.models import User
from connections.providers import registry
from connections.providers.contract import Provider
from playground.problems import NEXT_STEPS, RETRY

FIRST_SYSTEM = "You are a helpful assistant."
"""What a new conversation proposes; small models need a system message to behave."""
SILENCE = timedelta(seconds=30)
"""A running answer reports far more often; one silent for this long has lost its process."""

INTERRUPTED = "The server was stopped while this answer came."


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def visible_to(self, user: User) -> "ConversationQuerySet":
        return self.filter(owner=user)


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=120, blank=True)
    model = models.CharField(max_length=300, blank=True)
    """Public id of the model, or name of the route, chosen last; either may be gone by now."""
    system = models.TextField(blank=True, default=FIRST_SYSTEM)
    parameters = models.JSONField(default=dict, blank=True)
    """The settings form's other fields, as they were filled in last."""
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at", "-id"]

    def __str__(self) -> str:
        return self.title or "New conversation"

    @property
    def settings(self) -> dict[str, Any]:
        """What the settings form starts with."""
        return {"model": self.model, "system": self.system, "stream": self._state.adding, **self.parameters}


class TurnQuerySet(models.QuerySet["Turn"]):
    def visible_to(self, user: User) -> "TurnQuerySet":
        return self.filter(conversation__owner=user)

    def live(self) -> "TurnQuerySet":
        """Without those that an edit replaced."""
        return self.filter(replaced_by=None)

    def complete(self) -> "TurnQuerySet":
        return self.prefetch_related("runs", "replaced__runs")


class Turn(models.Model):
    """One question of a conversation, with its answers (the newest counts)."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="turns")
    text = models.TextField()
    image = models.TextField(blank=True)
    """A picture sent along, as a data URL."""
    replaced_by = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="replaced")
    """Editing a question keeps it and what followed, out of sight."""
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TurnQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.text[:60]

    @property
    def answers(self) -> list["Run"]:
        return list(self.runs.all())

    @property
    def answer(self) -> "Run | None":
        return self.answers[-1] if self.answers else None

    @property
    def earlier_answers(self) -> list["Run"]:
        return self.answers[:-1]


class RunQuerySet(models.QuerySet["Run"]):
    def visible_to(self, user: User) -> "RunQuerySet":
        return self.filter(turn__conversation__owner=user)

    def running(self) -> "RunQuerySet":
        return self.filter(state=Run.State.RUNNING)

    def settle_abandoned(self) -> None:
        """Mark as failed what lost its process: the server was stopped while the answer came."""
        self.running().filter(alive_at__lt=timezone.now() - SILENCE).update(
            state=Run.State.FAILED,
            problem=INTERRUPTED,
            problem_code="interrupted",
        )


class Run(models.Model):
    """One answer to a turn, as it was asked and as it came."""

    class State(models.TextChoices):
        RUNNING = "running", "Streaming"
        DONE = "done", "Done"
        STOPPED = "stopped", "Stopped"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="runs")
    model = models.CharField(max_length=300)
    kind = models.CharField(max_length=40)
    """Of the connection that was asked; empty for a route."""
    served = models.CharField(max_length=300, blank=True)
    """The model that answered: one of the route's, if that was asked."""
    connection = models.CharField(max_length=80, blank=True)
    """That it is of."""
    attempts = models.PositiveSmallIntegerField(null=True)
    """Upstream calls that it took."""
    request = models.JSONField()
    """The body as `/v1/chat/completions` would take it."""
    effective = models.JSONField(default=dict)
    """Method, path and body as sent to the provider, without credentials."""
    adjusted = models.JSONField(default=list)
    text = models.TextField(blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    problem = models.CharField(max_length=500, blank=True)
    problem_code = models.CharField(max_length=40, blank=True)
    finish_reason = models.CharField(max_length=20, blank=True)
    prompt_tokens = models.BigIntegerField(null=True)
    completion_tokens = models.BigIntegerField(null=True)
    estimated = models.BooleanField(default=False)
    cost = models.BigIntegerField(null=True)
    first_token_ms = models.PositiveIntegerField(null=True)
    total_ms = models.PositiveIntegerField(null=True)
    request_id = models.CharField(max_length=40, blank=True)
    alive_at = models.DateTimeField(default=timezone.now)
    """When the process that makes it last said so."""
    created_at = models.DateTimeField(auto_now_add=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["created_at"]
        get_latest_by = "created_at"

    def __str__(self) -> str:
        return f"{self.model}: {self.text[:40]}"

    @property
    def model_name(self) -> str:
        return self.model.partition("/")[2] or self.model

    @property
    def provider(self) -> type[Provider] | None:
        return registry.providers().get(self.kind)

    @property
    def was_routed(self) -> bool:
        """Whether it says something who answered."""
        return bool(self.served) and (self.served != self.model or (self.attempts or 0) > 1)

    @property
    def running(self) -> bool:
        return self.state == self.State.RUNNING

    @property
    def next_step(self) -> str:
        """What the asker can do about the problem."""
        return NEXT_STEPS.get(self.problem_code, RETRY)

    @property
    def tokens_per_second(self) -> float | None:
        """Over the time in which tokens came, the wait for the first one left out."""
        milliseconds = (self.total_ms or 0) - (self.first_token_ms or 0)
        return self.completion_tokens * 1000 / milliseconds if self.completion_tokens and milliseconds > 0 else None
