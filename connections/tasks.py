"""Scheduled checks. Arguments are ids only, and running one twice does no harm.

`check_due` is both the timetable and the lease: claiming a due check moves it `LEASE` ahead, so that nobody
else claims it; the finished check sets the real next time. A worker that dies costs one lease.
"""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from celery import shared_task
from django.db import close_old_connections
from django.db.models import Count, Q
from django.db.models.functions import Now
from django.utils import timezone

from connections import health, runtime, services
from connections.health import Finding
from connections.models import Connection, HealthCheck, Model, State
from connections.providers.calls import Mode
from connections.providers.contract import Provider

LEASE = timedelta(seconds=90)
"""Longer than a check may take."""
BETWEEN_CALLS = timedelta(seconds=60)
"""At least so long passes between two paid calls to one model."""
NEVER_PROBED = {Mode.IMAGE}
"""A picture a minute would cost more than most people's calls; the list says whether the model is there."""
KEPT_ROWS, KEPT_TIME = 1000, timedelta(days=30)
"""Of each connection's history."""


@shared_task
def schedule_checks() -> None:
    """Hand every due check to a worker; nobody else does while it runs."""
    for pk in claim_due():
        check_connection.apply_async([str(pk)], expires=LEASE.total_seconds())


def claim_due() -> Iterator[UUID]:
    """Claim the due checks, each with one conditional update by the database's clock."""
    due = Connection.objects.running().filter(check_due__lte=Now())
    for pk in list(due.values_list("pk", flat=True)):
        if due.filter(pk=pk).update(check_due=Now() + LEASE):
            yield pk


@shared_task
def check_connection(pk: str) -> None:
    """Check now. Nothing happens when the connection was deleted or paused meanwhile."""
    connection = Connection.objects.running().filter(pk=pk).first()
    if connection is None:
        return
    try:
        provider = services.provider_of(connection)
    except services.Unusable as problem:
        health.record(connection, Finding(State.FAILING, str(problem)))
        return
    models = list(connection.models.filter(enabled=True))
    probed = [model for model in models if connection.probe_models and model.mode not in NEVER_PROBED]
    to_call = [model for model in probed if _claim_call(model)]
    listed = [model for model in models if model not in probed]
    close_old_connections()  # none is held while the provider is awaited
    health.record(connection, runtime.run(_check(connection, provider, listed, to_call)))


async def _check(connection: Connection, provider: Provider, listed: list[Model], to_call: list[Model]) -> Finding:
    return await health.check_connection(await runtime.transport(), connection, provider, listed, to_call)


def _claim_call(model: Model) -> bool:
    """Paid calls come at most once a minute, however many checks run."""
    rested = Q(checked_at=None) | Q(checked_at__lte=Now() - BETWEEN_CALLS)
    return bool(Model.objects.filter(rested, pk=model.pk).update(checked_at=Now()))


@shared_task
def trim_checks() -> None:
    """Forget the history beyond what is kept of each connection, and of each model's calls."""
    HealthCheck.objects.filter(at__lt=timezone.now() - KEPT_TIME).delete()
    series = HealthCheck.objects.order_by().values("connection", "model").annotate(rows=Count("pk"))
    for one in series.filter(rows__gt=KEPT_ROWS):
        rows = HealthCheck.objects.filter(connection=one["connection"], model=one["model"])
        newest_to_go = rows.order_by("-pk").values_list("pk", flat=True)[KEPT_ROWS]
        rows.filter(pk__lte=newest_to_go).delete()
