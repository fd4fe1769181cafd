"""From when to when a budget counts: in UTC, half-open, without gaps, whatever the moment."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.windows import span

MOMENTS = st.datetimes(
    datetime(2001, 1, 1), datetime(2199, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11))])
)
KINDS = st.sampled_from(["day", "week", "month", "own"])
HOURS = st.integers(1, 9000)
EDGE = timedelta(microseconds=1)


@given(KINDS, HOURS, MOMENTS, MOMENTS)
def test_every_moment_lies_in_one_window(kind, hours, anchor, at):
    found = span(kind, hours, anchor, at)

    assert found.starts <= at < found.ends
    assert span(kind, hours, anchor, found.starts) == found == span(kind, hours, anchor, found.ends - EDGE)
    assert span(kind, hours, anchor, found.ends).starts == found.ends
    assert span(kind, hours, anchor, found.starts - EDGE).ends == found.starts


@given(MOMENTS)
def test_calendar_windows_begin_at_midnight_in_utc(at):
    for kind in ("day", "week", "month"):
        starts = span(kind, 0, None, at).starts.astimezone(UTC)
        assert (starts.hour, starts.minute, starts.second, starts.microsecond) == (0, 0, 0, 0)
    assert span("week", 0, None, at).starts.weekday() == 0
    assert span("month", 0, None, at).starts.day == 1


@given(HOURS, MOMENTS, MOMENTS)
def test_ones_own_windows_count_from_the_anchor(hours, anchor, at):
    found = span("own", hours, anchor, at)

    assert (found.starts - anchor) % timedelta(hours=hours) == timedelta(0)
    assert found.ends - found.starts == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("kind", "at", "starts", "ends"),
    [
        ("day", "2026-03-29T01:30", "2026-03-29", "2026-03-30"),  # the clocks of Europe go forward
        ("week", "2026-11-22T23:59", "2026-11-16", "2026-11-23"),
        ("month", "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
        ("month", "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
    ],
)
def test_windows_of_the_calendar(kind, at, starts, ends):
    found = span(kind, 0, None, datetime.fromisoformat(at).replace(tzinfo=UTC))

    assert [one.date().isoformat() for one in found] == [starts, ends]
