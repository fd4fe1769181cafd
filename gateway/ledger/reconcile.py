"""Proves that the books agree: the calls with their sums, each call with its attempts, and what others add."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction

from gateway.ledger import adding
from gateway.ledger.sums import LENGTHS
from gateway.models import AddedUp, Attempt, Period, Usage, UsageSum


class Difference(NamedTuple):
    """A figure that is not what the calls say."""

    book: str
    """Which of the books has it."""
    place: str
    figure: str
    calls: Any
    """What it is by the calls …"""
    found: Any
    """… and what the book says."""


Check = Callable[[datetime, datetime], Iterable[Difference]]
checks: list[Check] = []
"""Each looks at the calls from the first moment up to the second. Whoever derives figures from calls adds one."""


def differences(since: datetime, until: datetime) -> Iterator[Difference]:
    for check in checks:
        yield from check(since, until)


def mend(since: datetime, until: datetime) -> None:
    """Make the sums of this time anew."""
    hours = AddedUp.objects.filter(period=Period.HOUR, start__gte=since - adding.HOUR, start__lt=until)
    adding.mark_stale(hours.values_list("start", flat=True))
    while AddedUp.objects.filter(
        period=Period.HOUR, stale=True, start__lt=until, start__gte=adding.kept_from()
    ).exists():
        adding.add_up()


def check_hours(since: datetime, until: datetime) -> Iterator[Difference]:
    yield from _check_sums(Period.HOUR, adding.sums_of_hour, since, until)


def check_days(since: datetime, until: datetime) -> Iterator[Difference]:
    yield from _check_sums(Period.DAY, adding.sums_of_day, max(since, adding.kept_from()), until)


def _check_sums(
    period: Period, made_anew: Callable[[datetime], list[UsageSum]], since: datetime, until: datetime
) -> Iterator[Difference]:
    """Of each hour or day for itself, in which nobody writes meanwhile."""
    added = AddedUp.objects.filter(period=period, start__lt=until, start__gt=since - LENGTHS[period])
    for start in list(added.filter(stale=False).order_by("start").values_list("start", flat=True)):
        with transaction.atomic():
            if not added.select_for_update().filter(start=start, stale=False):
                continue
            right, kept = _by_names(made_anew(start)), _by_names(UsageSum.objects.filter(period=period, start=start))
        yield from _compare(period, start, right, kept)


def _by_names(sums: Iterable[UsageSum]) -> dict[tuple[Any, ...], UsageSum]:
    return {tuple(getattr(one, name) for name in adding.NAMES): one for one in sums}


def _compare(
    period: Period, start: datetime, right: dict[tuple[Any, ...], UsageSum], kept: dict[tuple[Any, ...], UsageSum]
) -> Iterator[Difference]:
    for names in sorted(right.keys() | kept.keys(), key=str):
        said = ", ".join(f"{name} {value}" for name, value in zip(adding.NAMES, names, strict=True) if value)
        for figure in (*adding.AMOUNTS, "latency"):
            pair = [getattr(sums[names], figure) if names in sums else None for sums in (right, kept)]
            if pair[0] != pair[1]:
                yield Difference(f"sums by the {period}", f"{start:%Y-%m-%d %H:%M}, {said}", figure, *pair)


def check_attempts(since: datetime, until: datetime) -> Iterator[Difference]:
    """A call used what those of its attempts did that told what they used."""
    tried = Attempt.objects.filter(at__gte=since, at__lt=until).values("usage")
    calls = Usage.objects.filter(at__gte=since, at__lt=until, pk__in=tried).prefetch_related("attempts")
    for call in calls.iterator(chunk_size=1000):
        told = [one for one in call.attempts.all() if (one.prompt_tokens, one.completion_tokens) != (None, None)]
        if not told:
            continue
        for figure in ("prompt_tokens", "completion_tokens"):
            amounts = [getattr(one, figure) for one in told]
            together = None if None in amounts else sum(amounts)
            if getattr(call, figure) != together:
                yield Difference("attempts", call.request_id, figure, getattr(call, figure), together)


checks += [check_hours, check_days, check_attempts]
