"""From when to when a budget counts: in UTC, the beginning included, the end not."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from gateway.models import Budget

DAY, WEEK = timedelta(days=1), timedelta(days=7)


class Span(NamedTuple):
    starts: datetime
    ends: datetime


def span(window: str, hours: int, anchor: datetime | None, at: datetime) -> Span:
    """The window that holds the moment `at`; `hours` and `anchor` are those of a window of one's own."""
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if window == Budget.Window.DAY:
        return Span(midnight, midnight + DAY)
    if window == Budget.Window.WEEK:
        monday = midnight - timedelta(days=midnight.weekday())
        return Span(monday, monday + WEEK)
    if window == Budget.Window.MONTH:
        first = midnight.replace(day=1)
        return Span(first, (first + timedelta(days=32)).replace(day=1))
    assert anchor is not None  # noqa: S101 - a window of one's own has both
    length = timedelta(hours=hours)
    starts = anchor + (at - anchor) // length * length
    return Span(starts, starts + length)
