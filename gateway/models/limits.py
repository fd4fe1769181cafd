"""How fast, or how many at once."""

from django.db import models

from gateway.models.extent import Extent

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

    class What(models.TextChoices):
        REQUESTS = "requests", "Requests"
        TOKENS = "tokens", "Tokens"
        PARALLEL = "parallel", "Parallel calls"

    scope = models.CharField(max_length=12, choices=Extent)
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
        return self.scope not in {Extent.EACH_USER, Extent.EACH_KEY}
