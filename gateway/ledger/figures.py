"""What the ledger tells the pages of connections."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.utils import timezone

from connections import figures
from gateway.ledger import sums
from gateway.ledger.latency import slow_end
from gateway.ledger.partitions import month_of
from gateway.models import Job

T = TypeVar("T")
DAY = timedelta(days=1)
FRESH = 15.0
"""Seconds that a sum over many rows is shown before it is made again: each open list asks for it."""


class Ledger:
    """Implements `connections.figures.Ledger`."""

    def __init__(self) -> None:
        self._totals = _Kept(_sum_totals)
        self._spend = _Kept(_sum_spend)

    def totals(self) -> figures.Totals:
        return self._totals.value()

    def spend(self) -> dict[UUID, int | None]:
        return self._spend.value()

    def waiting_jobs(self, public_ids: Collection[str]) -> int:
        return Job.objects.filter(model__in=public_ids).exclude(state__in=Job.TERMINAL).count()


class _Kept(Generic[T]):
    """What `make` gives, made anew when it is older than `FRESH`."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._kept: tuple[float, T] | None = None

    def value(self) -> T:
        if self._kept is None or monotonic() - self._kept[0] > FRESH:
            self._kept = (monotonic(), self._make())
        return self._kept[1]


def _sum_totals() -> figures.Totals:
    now = timezone.now()
    count, before = (_total(start, start + DAY)["calls"] for start in (now - DAY, now - 2 * DAY))
    return figures.Totals(
        requests=count,
        change=round((count - before) / before * 100) if before else None,
        slow_ms=slow_end(sums.latency(now - DAY, now)),
        spend=_total(month_of(now))["spend"],
    )


def _sum_spend() -> dict[UUID, int | None]:
    found = sums.by_name("connection_id", month_of(timezone.now()))
    return {connection: figures["spend"] for connection, figures in found.items() if connection}


def _total(since: datetime, until: datetime | None = None) -> dict[str, Any]:
    return sums.total(sums.by_name("state", since, until).values())
