"""What the ledger tells the pages of connections."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from time import monotonic
from typing import Generic, TypeVar
from uuid import UUID

from django.db.models import QuerySet, Sum
from django.utils import timezone

from connections import figures
from gateway.models import Job, Usage

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
    today, before = _between(now - DAY, now), _between(now - 2 * DAY, now - DAY).count()
    count = today.count()
    return figures.Totals(
        requests=count,
        change=round((count - before) / before * 100) if before else None,
        slow_ms=_slow(today, count),
        spend=_this_month().aggregate(sum=Sum("cost"))["sum"],
    )


def _sum_spend() -> dict[UUID, int | None]:
    sums = _this_month().order_by().values("connection_id").annotate(sum=Sum("cost"))
    return {row["connection_id"]: row["sum"] for row in sums if row["connection_id"]}


def _between(start: datetime, end: datetime) -> QuerySet[Usage]:
    return Usage.objects.filter(at__gte=start, at__lt=end)


def _this_month() -> QuerySet[Usage]:
    return Usage.objects.filter(at__gte=timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def _slow(calls: QuerySet[Usage], count: int) -> int | None:
    """The latency that 95 % of the calls stayed under; read by place, which every database can do."""
    return calls.order_by("total_ms").values_list("total_ms", flat=True)[count * 95 // 100] if count else None
