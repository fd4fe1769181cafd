"""What calls add up to: of closed hours and days from their sums, of the rest from the ledger itself."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Q, Sum

from access.models import User
from gateway.ledger.latency import STEP
from gateway.models import AddedUp, Period, Usage, UsageQuerySet, UsageSum

LENGTHS = {Period.HOUR: timedelta(hours=1), Period.DAY: timedelta(days=1)}
SUMMED = {
    "prompt": Sum("prompt_tokens"),
    "completion": Sum("completion_tokens"),
    "images": Sum("images"),
    "searches": Sum("search_units"),
    "spend": Sum("cost"),
}
OF_CALLS = {
    **SUMMED,
    "calls": Count("id"),
    "failed": Count("id", filter=Q(state=Usage.State.ERROR)),
    "unpriced": Count("id", filter=Q(cost=None, state=Usage.State.OK)),
}
OF_SUMS = {
    **SUMMED,
    "failed": Sum("calls", filter=Q(state=Usage.State.ERROR), default=0),  # before the column's name is taken
    "calls": Sum("calls", default=0),
    "unpriced": Sum("unpriced", filter=Q(state=Usage.State.OK), default=0),
}
NOTHING: Mapping[str, Any] = {**dict.fromkeys(SUMMED), "calls": 0, "failed": 0, "unpriced": 0}


@dataclass
class Parts:
    """Where the figures of a time stand: it falls into periods with sums, and gaps between them."""

    starts: dict[str, list[datetime]] = field(default_factory=lambda: {period: [] for period in Period})
    gaps: Q = field(default_factory=lambda: Q(pk__in=[]))

    @classmethod
    def of(cls, since: datetime, until: datetime | None = None) -> "Parts":
        """Without an end, also what lies in the future of this machine's clock."""
        parts, reached = cls(), since
        for period, start in _periods(since, until):
            if start < reached:  # an hour of a day that counts as a whole
                continue
            if start > reached:
                parts.gaps |= Q(at__gte=reached, at__lt=start)
            parts.starts[period].append(start)
            reached = start + LENGTHS[Period(period)]
        if until is None or reached < until:
            parts.gaps |= Q(at__gte=reached) if until is None else Q(at__gte=reached, at__lt=until)
        return parts

    @property
    def sums(self) -> UsageQuerySet:
        wanted = Q(pk__in=[])
        for period, starts in self.starts.items():
            wanted |= Q(period=period, start__in=starts)
        return UsageSum.objects.filter(wanted)

    @property
    def calls(self) -> UsageQuerySet:
        return Usage.objects.order_by().filter(self.gaps)


def _periods(since: datetime, until: datetime | None) -> list[tuple[str, datetime]]:
    """Those that lie in it whole and whose sums count, by their start, a day before its first hour."""
    known = AddedUp.objects.filter(stale=False, start__gte=since)
    found = [
        (period, start)
        for period, start in known.values_list("period", "start")
        if until is None or start + LENGTHS[Period(period)] <= until
    ]
    return sorted(found, key=lambda one: (one[1], one[0]))  # "day" sorts before "hour"


def by_name(column: str, since: datetime, until: datetime | None = None, *, user: User | None = None) -> dict[Any, Any]:
    """The figures of calls by one of their columns; `user`: only those that this one may see."""
    parts, found = Parts.of(since, until), dict[Any, dict[str, Any]]()
    for rows, figures in ((parts.sums, OF_SUMS), (parts.calls, OF_CALLS)):
        seen = rows if user is None else rows.visible_to(user)
        for group in seen.values(name=F(column)).annotate(**figures):
            name = group.pop("name")
            found[name] = total([found[name], group] if name in found else [group])
    return found


def total(groups: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What several groups amount to together. A sum that none of them knows stays unknown."""
    whole = dict(NOTHING)
    for group in groups:
        for name, amount in group.items():
            if amount is not None:
                whole[name] = (whole[name] or 0) + amount
    return whole


def latency(since: datetime, until: datetime | None = None) -> Counter[int]:
    """How many calls took how long, in the steps of `gateway.ledger.latency`."""
    parts, found = Parts.of(since, until), Counter[int]()
    for calls in parts.sums.values_list("latency", flat=True):
        found.update({int(step): count for step, count in calls.items()})
    for step, count in parts.calls.values_list(STEP).annotate(Count("id")):
        found[step] += count
    return found
