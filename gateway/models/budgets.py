"""How much may be spent."""

import uuid

from django.db import models

from connections import secrets
from gateway.models.extent import Extent


def usual_thresholds() -> list[int]:
    return [80, 100]


class Budget(models.Model):
    """How much somebody or something may cost, or how many tokens it may use, from one window to the next."""

    class What(models.TextChoices):
        MONEY = "money", "Money"
        TOKENS = "tokens", "Tokens"

    class Window(models.TextChoices):
        DAY = "day", "Day"
        WEEK = "week", "Week"
        MONTH = "month", "Month"
        OWN = "own", "Own length"

    class AtEnd(models.TextChoices):
        STOP = "stop", "Refuse calls"
        WARN = "warn", "Only tell"
        SWITCH = "switch", "Ask another model or route"

    scope = models.CharField(max_length=12, choices=Extent)
    subject = models.CharField(max_length=300, blank=True)
    """As of a limit."""
    what = models.CharField(max_length=10, choices=What)
    amount = models.PositiveBigIntegerField()
    """10⁻⁹ USD, or tokens."""
    window = models.CharField(max_length=10, choices=Window)
    hours = models.PositiveIntegerField(default=0)
    """Length of a window of one's own …"""
    anchor = models.DateTimeField(null=True)
    """… and the moment at which one of them begins."""
    at_end = models.CharField(max_length=10, choices=AtEnd, default=AtEnd.STOP)
    switch_to = models.CharField(max_length=300, blank=True)
    """Public id of a model, or name of a route."""
    thresholds = models.JSONField(default=usual_thresholds)
    """Percent of the amount at which somebody is told, in order."""
    emails = models.JSONField(default=list)
    """Whom to tell by mail."""
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["scope", "subject", "what"]
        constraints = [
            models.UniqueConstraint("scope", "subject", "what", "window", "hours", "at_end", name="budget_once"),
            models.CheckConstraint(condition=models.Q(amount__gte=1), name="budget_lets_something_through"),
        ]

    def __str__(self) -> str:
        return f"{self.what} {self.amount} for {self.scope} {self.subject}".rstrip()

    @property
    def shared(self) -> bool:
        """One sum for all whom it is about; else each user or key has one."""
        return self.scope not in {Extent.EACH_USER, Extent.EACH_KEY}


class BudgetOverride(models.Model):
    """More than a budget allows, until a moment and for a reason."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="overrides")
    extra = models.PositiveBigIntegerField(null=True)
    """Beside the budget's amount; null: no end at all."""
    until = models.DateTimeField()
    reason = models.CharField(max_length=300)
    made_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]


class BudgetWindow(models.Model):
    """What was spent of one budget, for one of those whom it is about, between two moments."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="windows")
    counted = models.CharField(max_length=20, blank=True)
    """Whose it is, where each user or key has one."""
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(db_index=True)
    spent = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)
    """The sum of its leases."""
    unknown = models.PositiveIntegerField(default=0)
    """Calls whose cost is not known, and so not in `spent`."""

    class Meta:
        ordering = ["-starts_at"]
        constraints = [
            models.UniqueConstraint("budget", "counted", "starts_at", name="budget_window_once"),
            models.CheckConstraint(condition=models.Q(spent__gte=0, reserved__gte=0), name="budget_window_never_below"),
        ]


class BudgetLease(models.Model):
    """Credit of a window that one process holds for the calls it lets through; it ends unless it is renewed."""

    window = models.ForeignKey(BudgetWindow, on_delete=models.CASCADE, related_name="leases")
    owner = models.CharField(max_length=32, db_index=True)
    amount = models.BigIntegerField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint("window", "owner", name="budget_lease_once"),
            models.CheckConstraint(condition=models.Q(amount__gte=0), name="budget_lease_never_below"),
        ]


class BudgetWebhook(models.Model):
    """Where to tell of a budget by a signed message. Its secret is sealed to this row and this revision of it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    budget = models.OneToOneField(Budget, on_delete=models.CASCADE, related_name="webhook")
    url = models.CharField(max_length=2048)
    sealed = models.BinaryField()
    revision = models.PositiveIntegerField(default=0)

    @property
    def _binding(self) -> bytes:
        return secrets.binding("gateway_budgetwebhook", self.pk, "sealed", self.revision)

    def secret(self) -> bytes:
        """Raises `secrets.Unreadable`."""
        return secrets.unseal(bytes(self.sealed), self._binding)["secret"].encode()

    def store_secret(self, secret: str) -> None:
        """The caller saves."""
        self.revision += 1
        self.sealed = secrets.seal({"secret": secret}, self._binding)


class BudgetNotice(models.Model):
    """That a threshold was reached in a window. The row exists once, so it is told once."""

    window = models.ForeignKey(BudgetWindow, on_delete=models.CASCADE, related_name="notices")
    threshold = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    due_at = models.DateTimeField(null=True, db_index=True)
    """When it is to be told next; null: it is, nobody is to be told, or it was given up."""
    tries = models.PositiveSmallIntegerField(default=0)
    mailed_at = models.DateTimeField(null=True)
    posted_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=300, blank=True)
    """What kept the last try from succeeding."""

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint("window", "threshold", name="budget_notice_once")]
