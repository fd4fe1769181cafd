"""Names for several models."""

from django.db import models


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
