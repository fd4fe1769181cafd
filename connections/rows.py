"""Connections as the list shows them, with what stands in other tables read once for all of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, F, Q, Window
from django.db.models.functions import RowNumber

from connections import figures
from connections.models import Connection, Grant, HealthCheck, State
from connections.providers import registry
from connections.providers.contract import Provider

STRIP = 30
"""Checks that a strip shows."""


@dataclass(frozen=True, slots=True)
class Row:
    connection: Connection
    kind: type[Provider] | None
    """None: the provider's package is not installed any more."""
    checks: Sequence[HealthCheck]
    """The last ones, the oldest first."""
    enabled: int
    models: int
    groups: Sequence[str]
    has_calls: bool
    """Whether anything was called this month."""
    spend: int | None

    @property
    def label(self) -> str:
        return self.kind.label if self.kind else self.connection.kind

    @property
    def has_models(self) -> bool:
        """False: it only lends what it holds."""
        return self.kind is None or bool(self.kind.modes)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The provider's settings that are set, by title; secrets are not among them."""
        fields = self.kind.Settings.model_fields if self.kind else {}
        values = self.connection.settings | self._lenders
        return [(info.title or name, _readable(values[name])) for name, info in fields.items() if values.get(name)]

    @property
    def _lenders(self) -> dict[str, str]:
        """The names of the connections that it borrows from, by setting."""
        names = self.kind.Settings.lender_kinds() if self.kind else {}
        ids = {name: self.connection.settings[name] for name in names if self.connection.settings.get(name)}
        known = {str(row.pk): row.name for row in Connection.objects.filter(pk__in=ids.values())} if ids else {}
        return {name: known.get(pk, "a connection that is gone") for name, pk in ids.items()}

    @property
    def state_label(self) -> str:
        return State(self.connection.shown_state).label

    @property
    def failures(self) -> int:
        """How many of the last checks failed in a row."""
        count = 0
        for check in reversed(self.checks):
            if check.state != State.FAILING:
                break
            count += 1
        return count


def _readable(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_readable(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_readable, value))
    return "yes" if value is True else str(value)


def rows_of(connections: Sequence[Connection]) -> list[Row]:
    ids = [connection.pk for connection in connections]
    checks, groups, spend = _checks(ids), _groups(ids), figures.ledger().spend()
    return [
        Row(
            connection=connection,
            kind=registry.providers().get(connection.kind),
            checks=checks.get(connection.pk, []),
            enabled=enabled,
            models=models,
            groups=groups.get(connection.pk, []),
            has_calls=connection.pk in spend,
            spend=spend.get(connection.pk),
        )
        for connection, (enabled, models) in zip(connections, _model_counts(ids), strict=True)
    ]


def _checks(ids: Sequence[UUID]) -> dict[UUID, list[HealthCheck]]:
    place = Window(RowNumber(), partition_by=F("connection_id"), order_by=F("pk").desc())
    newest = HealthCheck.objects.filter(connection__in=ids, model=None).annotate(place=place).filter(place__lte=STRIP)
    found: dict[UUID, list[HealthCheck]] = {}
    for check in newest.order_by("pk"):
        found.setdefault(check.connection_id, []).append(check)
    return found


def _groups(ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    pairs = Grant.objects.filter(connection__in=ids).values_list("connection_id", "group__name").distinct()
    found: dict[UUID, list[str]] = {}
    for connection, group in pairs.order_by("group__name"):
        found.setdefault(connection, []).append(group)
    return found


def _model_counts(ids: Sequence[UUID]) -> list[tuple[int, int]]:
    counted = (
        Connection.objects.filter(pk__in=ids)
        .order_by()
        .annotate(on=Count("models", filter=Q(models__enabled=True)), all=Count("models"))
    )
    found = {pk: (on, all_of_them) for pk, on, all_of_them in counted.values_list("pk", "on", "all")}
    return [found.get(pk, (0, 0)) for pk in ids]


def state_counts(connections: Sequence[Connection]) -> Counter[str]:
    return Counter(connection.shown_state for connection in connections)
