"""Adds closed hours and days up, and again those in which a row was written later."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Min, Q, Sum
from django.utils import timezone

from gateway.ledger.latency import STEP
from gateway.ledger.partitions import drop_months
from gateway.ledger.sums import LENGTHS
from gateway.models import AddedUp, Attempt, Period, Usage, UsageSum

HOUR, DAY = LENGTHS[Period.HOUR], LENGTHS[Period.DAY]
LATE = timedelta(minutes=5)
"""A row that is written so long after its hour has ended marks it stale …"""
GRACE = timedelta(minutes=15)
"""… and after so long an hour is added up: what lies between is for clocks that differ."""
AT_ONCE = 500
"""Hours that one run adds up."""
LONGEST_PAUSE = timedelta(days=366)
"""For so long nobody may have added up, and no call is forgotten before it is."""
NAMES = (
    *("user_id", "principal", "key_id", "connection_id", "connection"),
    *("model", "route", "source", "mode", "state"),
)
AMOUNTS = (
    *("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("images", "search_units", "cost", "total_ms", "calls", "unpriced"),
)
MOST = 2**63 - 1
"""Of any sum: what a column takes."""
BATCH = 1000
"""Calls that are deleted together."""
OF_CALLS = {
    **{f"sum_{name}": Sum(name) for name in AMOUNTS[:-2]},
    "sum_calls": Count("id"),
    "sum_unpriced": Count("id", filter=Q(cost=None)),
}


def add_up() -> None:
    """Add up what is closed and has no sums that count, oldest first."""
    first, end = _first_call(), _hour(timezone.now() - GRACE)
    if first is None:
        return
    gone = set(
        _added(Period.DAY, first - DAY, kept_from())
    )  # a row that comes for such a day is all that is left of it
    due = (start for start in _due(Period.HOUR, _hour(first), end) if _day(start) not in gone)
    for start in islice(due, AT_ONCE):
        _add_hour(start)
    for start in _due(Period.DAY, _day(first), end):
        _add_day(start)


def forget() -> None:
    """Delete the calls that are too old, once they are in the sums of their days, and their sums by the hour."""
    before = min(kept_from(), added_until())
    if connection.vendor == "postgresql":
        drop_months(before)
    else:
        _delete_calls(before)
    oldest = _first_call() or before
    UsageSum.objects.filter(period=Period.HOUR, start__lt=_day(oldest)).delete()
    AddedUp.objects.filter(period=Period.HOUR, start__lt=_day(oldest)).delete()


def mark_stale(moments: Iterable[datetime]) -> None:
    """In the transaction of rows that were written late: the sums of their hours and days do not count any more."""
    known = {at for at in moments if at >= kept_from()}  # the rest of what is older may have gone
    for period, begin in ((Period.DAY, _day), (Period.HOUR, _hour)):
        for start in sorted(set(map(begin, known))):
            _note(period, start, stale=True)


def late_before() -> datetime:
    """Rows of calls before this moment are late."""
    return _hour(timezone.now() - LATE)


def kept_from() -> datetime:
    """Calls before this day go."""
    return _day(timezone.now() - timedelta(days=settings.USAGE_DAYS))


def added_until() -> datetime:
    """The first day whose calls are in no sums that count."""
    first = _first_call()
    return next(_due(Period.DAY, _day(first), kept_from()), kept_from()) if first else kept_from()


def sums_of_hour(start: datetime) -> list[UsageSum]:
    calls = Usage.objects.order_by().filter(at__gte=start, at__lt=start + HOUR)
    groups = calls.values(*NAMES, step=STEP).annotate(**OF_CALLS)
    return _merged(Period.HOUR, start, map(_of_calls, groups))


def sums_of_day(start: datetime) -> list[UsageSum]:
    hours = UsageSum.objects.filter(period=Period.HOUR, start__gte=start, start__lt=start + DAY)
    return _merged(Period.DAY, start, hours.values(*NAMES, *AMOUNTS, "latency"))


def _of_calls(group: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: group[name] for name in NAMES} | {name: group[f"sum_{name}"] for name in AMOUNTS}
    return {**found, "latency": {str(group["step"]): group["sum_calls"]}}


def _merged(period: Period, start: datetime, parts: Iterable[Mapping[str, Any]]) -> list[UsageSum]:
    """One for each combination of names."""
    found: dict[tuple[Any, ...], UsageSum] = {}
    for part in parts:
        names = {name: part[name] for name in NAMES}
        empty = dict.fromkeys(AMOUNTS)
        whole = found.setdefault(
            tuple(names.values()), UsageSum(period=period, start=start, latency={}, **names, **empty)
        )
        for name in AMOUNTS:
            if part[name] is not None:
                setattr(whole, name, min((getattr(whole, name) or 0) + int(part[name]), MOST))
        for step, calls in part["latency"].items():
            whole.latency[step] = whole.latency.get(step, 0) + calls
    return list(found.values())


def _add_hour(start: datetime) -> None:
    with transaction.atomic():
        _note(Period.HOUR, start, stale=False)
        _replace(Period.HOUR, start, sums_of_hour(start))


def _add_day(start: datetime) -> None:
    """Unless one of its hours has to be added up before. Whoever writes a late row waits for the day's note first."""
    with transaction.atomic():
        _note(Period.DAY, start, stale=False)
        first = _first_call()  # again: a row of an earlier hour may have come since
        if first and any(_due(Period.HOUR, max(start, _hour(first)), start + DAY)):
            _note(Period.DAY, start, stale=True)
        else:
            _replace(Period.DAY, start, sums_of_day(start))


def _replace(period: Period, start: datetime, sums: Iterable[UsageSum]) -> None:
    UsageSum.objects.filter(period=period, start=start).delete()
    UsageSum.objects.bulk_create(sums)


def _first_call() -> datetime | None:
    """Of those that may still have to be added up."""
    known = Usage.objects.filter(at__gte=kept_from() - LONGEST_PAUSE)
    found: datetime | None = known.aggregate(first=Min("at"))["first"]
    return found


def _due(period: Period, first: datetime, end: datetime) -> Iterator[datetime]:
    """Those of this time that have no sums which count."""
    added, start = set(_added(period, first, end)), first
    while start + LENGTHS[period] <= end:
        if start not in added:
            yield start
        start += LENGTHS[period]


def _added(period: Period, first: datetime, end: datetime) -> Iterable[datetime]:
    found = AddedUp.objects.filter(period=period, stale=False, start__gte=first, start__lt=end)
    return found.values_list("start", flat=True)


def _delete_calls(before: datetime) -> None:
    """So many at a time that nobody waits long for the database."""
    old = Usage.objects.order_by().filter(at__lt=before)
    while ids := list(old.values_list("pk", flat=True)[:BATCH]):
        with transaction.atomic():
            Attempt.objects.filter(usage__in=ids).delete()
            Usage.objects.filter(pk__in=ids).delete()


def _note(period: Period, start: datetime, *, stale: bool) -> None:
    """Whoever notes the same one meanwhile waits for this transaction."""
    AddedUp.objects.bulk_create(
        [AddedUp(period=period, start=start, stale=stale)],
        update_conflicts=True,
        unique_fields=["period", "start"],
        update_fields=["stale"],
    )


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _day(moment: datetime) -> datetime:
    return _hour(moment).replace(hour=0)
