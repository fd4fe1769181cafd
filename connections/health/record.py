"""What a check writes down."""

import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from access import audit
from connections.events import announce
from connections.health.checks import Finding, ModelFinding
from connections.models import Connection, HealthCheck, Model, State

JITTER = 0.2
"""Checks come up to this share earlier or later, so that they spread."""
CAUSE = 300


@transaction.atomic
def record(connection: Connection, finding: Finding) -> bool:
    """Write down what was found, and when to look again.

    False, and nothing is written: the connection was changed, paused or deleted since it was read.
    """
    unchanged = Connection.objects.running().filter(pk=connection.pk, revision=connection.revision)
    told = {"state": finding.state, "cause": finding.cause[:CAUSE]}
    written = unchanged.update(
        **told,
        evidence=finding.evidence,
        latency_ms=finding.total_ms,
        checked_at=Now(),
        check_due=Now() + jittered(connection.check_every),
    )
    if not written:
        return False
    stages = [stage.as_dict() for stage in finding.stages]
    HealthCheck.objects.create(connection=connection, total_ms=finding.total_ms, stages=stages, **told)
    _record_models(finding.models)
    if (connection.state == State.FAILING) != (finding.state == State.FAILING):
        audit.announce()  # routes ask a failing connection last
    announce()
    return True


def _record_models(findings: Iterable[ModelFinding]) -> None:
    """A call that was made becomes a row of the history; what a list says shows in the model's state alone."""
    listed: dict[tuple[str, str], list[ModelFinding]] = defaultdict(list)
    for found in findings:
        if found.ms is None:
            listed[found.state, found.cause].append(found)
        else:
            _record_call(found, found.ms)
    for (state, cause), same in listed.items():
        rows = Model.objects.filter(pk__in=[found.model.pk for found in same])
        rows.update(state=state, cause=cause, latency_ms=None, checked_at=Now())


def _record_call(found: ModelFinding, ms: int) -> None:
    told = {"state": found.state, "cause": found.cause[:CAUSE]}
    if Model.objects.filter(pk=found.model.pk).update(**told, latency_ms=ms, checked_at=Now()):
        connection_id = found.model.connection_id
        HealthCheck.objects.create(connection_id=connection_id, model=found.model, total_ms=ms, **told)


def jittered(seconds: int) -> timedelta:
    return timedelta(seconds=seconds * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - spreads load
