"""Sums of hours and days say what the calls say, also of rows that come late."""

import random
import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings as project
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Count, F, Q, Sum
from django.utils import timezone

from gateway import tasks
from gateway.ledger import adding, partitions, reconcile, rows, sums
from gateway.ledger.figures import Ledger
from gateway.ledger.partitions import month_of
from gateway.metering import commit
from gateway.models import AddedUp, Attempt, Usage, UsageSum
from tests.gateway.test_metering import record, tried

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
GROUPINGS = ("model", "connection", "principal", "connection_id", "state")


@pytest.fixture
def now(db):
    return timezone.now()


def called(at, **columns):
    made = record(at=at, **{"model": "main/a", "connection": "main", "cost": 5, "total_ms": 100, **columns})
    commit([made])
    return made


def many(now, count=400, days=4):
    """Calls of all kinds, spread over some days."""
    some = random.Random(7)
    rows = []
    for _ in range(count):
        row = record(
            at=now - some.random() * days * DAY,
            model=some.choice(["main/a", "main/b", "other/c"]),
            connection=some.choice(["main", "other"]),
            user_id=some.choice([1, 2, None]),
            key_id=some.choice(["", "abcdefghij"]),
            state=some.choice(Usage.State.values),
            cost=some.choice([None, 0, 123_456_789_012]),
            prompt_tokens=some.choice([None, 7]),
            completion_tokens=some.choice([None, 3]),
            images=some.choice([0, 0, 2]),
            search_units=some.choice([0, 1]),
            total_ms=some.randrange(60_000),
        )
        row.principal = f"user {row.user_id}"
        rows.append(row)
    commit(rows)


def by_the_ledger(column, since, user=None):
    """What a reader of every call finds."""
    calls = Usage.objects.order_by().filter(at__gte=since, **({"user_id": user.pk} if user else {}))
    figures = {
        "calls": Count("id"),
        "failed": Count("id", filter=Q(state="error")),
        "prompt": Sum("prompt_tokens"),
        "completion": Sum("completion_tokens"),
        "images": Sum("images"),
        "searches": Sum("search_units"),
        "spend": Sum("cost"),
        "unpriced": Count("id", filter=Q(cost=None, state="ok")),
    }
    return {row.pop("name"): row for row in calls.values(name=F(column)).annotate(**figures)}


@pytest.mark.parametrize("column", GROUPINGS)
def test_figures_are_those_of_the_calls(now, oscar, alice, column):
    many(now)
    Usage.objects.filter(user_id=1).update(user_id=alice.pk)
    since = [now - length for length in (HOUR, DAY, 3 * DAY + HOUR / 3, 30 * DAY)]
    before = [by_the_ledger(column, one) for one in since]
    assert [sums.by_name(column, one) for one in since] == before

    adding.add_up()

    assert AddedUp.objects.filter(period="day", stale=False).count() in {3, 4}
    assert sums.Parts.of(since[-1]).calls.count() < 20
    assert [sums.by_name(column, one, user=oscar) for one in since] == before
    assert sums.by_name(column, since[2], user=alice) == by_the_ledger(column, since[2], alice)


def test_beat_wakes_the_adding_up_and_the_keeping(now):
    called(now - 3 * DAY)
    names = {entry["task"] for entry in project.CELERY_BEAT_SCHEDULE.values()}
    assert {tasks.add_up_calls.name, tasks.keep_ledger.name} <= names

    tasks.add_up_calls()
    tasks.keep_ledger()

    assert sums.Parts.of(now - 4 * DAY, now - DAY).calls.count() == 0
    assert Usage.objects.count() == 1


def test_only_what_has_ended_for_some_time_is_added_up(now):
    called(now - 3 * HOUR)

    adding.add_up()

    last = AddedUp.objects.filter(period="hour").latest("start").start
    assert last + HOUR <= now - adding.GRACE < last + 2 * HOUR
    called(now)
    assert sums.total(sums.by_name("model", now - DAY).values())["calls"] == 2


def test_a_late_row_counts_at_once_and_is_added_up_again(now):
    called(now - 3 * DAY)
    adding.add_up()
    assert not AddedUp.objects.filter(stale=True, start__lt=now - 2 * DAY).exists()

    called(now - 3 * DAY, cost=7)

    assert sums.total(sums.by_name("model", now - 4 * DAY).values())["spend"] == 12
    assert AddedUp.objects.filter(stale=True, start__lt=now - 2 * DAY).count() == 2
    adding.add_up()
    assert not AddedUp.objects.filter(stale=True, start__lt=now - 2 * DAY).exists()
    assert sums.total(sums.by_name("model", now - 4 * DAY).values())["spend"] == 12
    assert sums.Parts.of(now - 4 * DAY, now - DAY).calls.count() == 0


def test_a_row_that_came_unmarked_counts_when_it_comes_again(now):
    """From a line that hung for long, and then from the journal."""
    late = called(now - 3 * DAY)
    Usage.objects.all().delete()
    called(now - 3 * DAY - DAY)
    adding.add_up()
    rows.insert([late])
    assert sums.total(sums.by_name("model", now - 5 * DAY).values())["calls"] == 1

    commit([late])

    assert sums.total(sums.by_name("model", now - 5 * DAY).values())["calls"] == 2
    adding.add_up()
    assert sums.total(sums.by_name("model", now - 5 * DAY).values())["calls"] == 2
    assert list(reconcile.differences(now - 30 * DAY, now)) == []


def test_adding_up_in_pieces_leaves_nothing_out(now, monkeypatch):
    many(now, 60)
    monkeypatch.setattr(adding, "AT_ONCE", 5)

    for _ in range(25):
        adding.add_up()

    assert list(reconcile.differences(now - 30 * DAY, now)) == []
    assert AddedUp.objects.filter(period="day", stale=False).count() in {3, 4}
    assert sums.by_name("model", now - 30 * DAY) == by_the_ledger("model", now - 30 * DAY)


def test_rows_that_come_while_hours_are_added_up_are_in_the_sums(transactional_db):
    now = timezone.now()
    many(now, 50)
    stop = threading.Event()

    def write():
        for _ in range(40):
            called(now - random.random() * 4 * DAY)
        connection.close()

    def add():
        while not stop.is_set():
            adding.add_up()
        connection.close()

    writers = [threading.Thread(target=write) for _ in range(2)]
    adders = [threading.Thread(target=add) for _ in range(2)]
    for thread in (*writers, *adders):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in adders:
        thread.join()
    adding.add_up()

    assert Usage.objects.count() == 130
    assert list(reconcile.differences(now - 30 * DAY, now)) == []
    assert sums.by_name("model", now - 30 * DAY) == by_the_ledger("model", now - 30 * DAY)
    assert not AddedUp.objects.filter(stale=True, start__lt=now - 2 * DAY).exists()


def test_a_row_before_all_others_that_comes_between_hours_and_days_is_in_both(now, monkeypatch):
    noon = (now - 3 * DAY).replace(hour=12)
    called(noon)
    add_hour, come = adding._add_hour, []

    def add_hour_and_write(start):
        add_hour(start)
        if not come:
            come.append(called(noon - 6 * HOUR))

    monkeypatch.setattr(adding, "_add_hour", add_hour_and_write)
    adding.add_up()
    adding.add_up()

    assert list(reconcile.differences(now - 30 * DAY, now)) == []
    assert sums.total(sums.by_name("model", now - 30 * DAY).values())["calls"] == 2


def test_the_slow_end_is_that_of_the_calls(now):
    for ms in range(1, 101):
        called(now - 5 * HOUR, total_ms=ms * 10)

    adding.add_up()

    assert sums.Parts.of(now - DAY).calls.count() == 0
    assert Ledger().totals().slow_ms == pytest.approx(960, rel=0.05)


def test_the_connections_page_reads_the_sums(now):
    called(now - 26 * HOUR)
    [called(now - 5 * HOUR) for _ in range(3)]
    before = Ledger().totals()

    adding.add_up()

    assert (before.requests, before.change) == (3, 200)
    assert Ledger().totals() == before


# --- what is too old


def test_old_calls_go_and_the_sums_of_their_days_stay(now, settings):
    settings.USAGE_DAYS = 40
    old, kept = month_of(now - 80 * DAY) + DAY, now - 20 * DAY
    for month in (month_of(old), partitions.after(month_of(old))):
        for table in partitions.TABLES if connection.vendor == "postgresql" else ():
            partitions._make(table, month)
    called(old, attempts=[tried(1)], cost=3)
    called(kept, attempts=[tried(1)], cost=4)
    settings.USAGE_DAYS = 400
    add_all()
    settings.USAGE_DAYS = 40

    adding.forget()

    assert (Usage.objects.count(), Attempt.objects.count()) == (1, 1)
    assert not UsageSum.objects.filter(period="hour", start__lt=now - 40 * DAY).exists()
    assert sums.total(sums.by_name("model", old - DAY).values())["spend"] == 7
    adding.add_up()
    assert sums.total(sums.by_name("model", old - DAY).values())["spend"] == 7


def add_all():
    while (
        AddedUp.objects.filter(period="hour", stale=False).count() < (timezone.now() - adding._first_call()) // HOUR - 1
    ):
        adding.add_up()


def test_no_call_goes_before_it_is_in_a_sum(now, settings):
    settings.USAGE_DAYS = 40
    called(now - 80 * DAY)

    adding.forget()

    assert Usage.objects.count() == 1


def test_a_row_that_comes_for_a_day_that_has_gone_leaves_its_sums_alone(now, settings):
    settings.USAGE_DAYS = 40
    UsageSum.objects.create(**{**blank(now), "calls": 9})
    AddedUp.objects.create(period="day", start=adding._day(now - 80 * DAY))

    called(now - 80 * DAY)
    adding.add_up()

    assert UsageSum.objects.get(period="day", start=adding._day(now - 80 * DAY)).calls == 9


def blank(now):
    names = dict.fromkeys(adding.NAMES, "") | {"user_id": None, "connection_id": None}
    return {
        **names,
        **dict.fromkeys(adding.AMOUNTS, 0),
        "period": "day",
        "start": adding._day(now - 80 * DAY),
        "latency": {},
    }


# --- reconcile


def reconciled(*arguments):
    said = StringIO()
    try:
        call_command("reconcile", *arguments, stdout=said)
    except SystemExit as end:
        return end.code, said.getvalue()
    return 0, said.getvalue()


def test_books_that_agree_are_said_to(now):
    many(now)
    adding.add_up()

    assert reconciled() == (0, "The books agree.\n")


@pytest.mark.parametrize("period", ["hour", "day"])
def test_a_sum_that_was_changed_is_named_and_mended(now, period):
    many(now, 100)
    adding.add_up()
    broken = UsageSum.objects.filter(period=period).exclude(cost=None).earliest("start")
    UsageSum.objects.filter(pk=broken.pk).update(cost=F("cost") + 1, calls=F("calls") + 2)

    status, said = reconciled()

    assert status == 1
    assert f"sums by the {period}" in said
    assert f"{broken.start:%Y-%m-%d %H:%M}, " in said
    assert broken.model in said
    assert f"{broken.cost} " in said
    assert f" {broken.cost + 1}\n" in said
    status, said = reconciled("--fix")
    assert (status, said.splitlines()[-1]) == (0, "The books agree.")
    assert reconciled() == (0, "The books agree.\n")


def test_a_row_that_was_deleted_or_added_by_hand_is_named(now):
    many(now, 100)
    adding.add_up()
    Usage.objects.filter(pk=Usage.objects.earliest("at").pk).delete()

    status, said = reconciled()

    assert status == 1
    assert "calls" in said


def test_attempts_that_do_not_make_up_their_call_are_named(now):
    row = called(now, attempts=[tried(1), tried(2)], prompt_tokens=9, completion_tokens=2)
    assert reconciled()[0] == 0
    Attempt.objects.filter(number=1).update(prompt_tokens=4, completion_tokens=1)
    Attempt.objects.filter(number=2).update(prompt_tokens=5, completion_tokens=1)
    assert reconciled()[0] == 0

    Attempt.objects.filter(number=2).update(prompt_tokens=6)

    status, said = reconciled()
    assert status == 1
    assert said.splitlines()[1].split() == ["attempts", row.request_id, "prompt_tokens", "9", "10"]


def test_only_the_time_asked_for_is_compared(now):
    called(now - 3 * DAY)
    adding.add_up()
    UsageSum.objects.update(calls=5)

    assert reconciled("--from", f"{now - DAY:%Y-%m-%d}")[0] == 0
    assert reconciled("--to", f"{now - 4 * DAY:%Y-%m-%dT%H:%M:%SZ}")[0] == 0
    assert reconciled("--from", f"{now - 4 * DAY:%Y-%m-%d}")[0] == 1


def test_a_moment_that_is_none_is_refused(db):
    with pytest.raises(CommandError, match="'yesterday' is no day"):
        call_command("reconcile", "--from", "yesterday")
