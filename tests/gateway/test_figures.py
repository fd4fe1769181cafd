"""What the ledger tells the list of connections."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from connections import figures
from gateway.ledger.figures import FRESH, Ledger
from gateway.models import Job, Usage


def called(*, ago=timedelta(), ms=100, cost=None, connection=None):
    Usage.objects.create(
        request_id=uuid.uuid4().hex,
        at=timezone.now() - ago,
        source="v1",
        mode="chat",
        principal="alice",
        model="main/gpt-4o",
        state=Usage.State.OK,
        status=200,
        total_ms=ms,
        cost=cost,
        connection_id=connection,
    )


def test_totals_count_a_day_and_its_slow_end(db):
    for ms in range(1, 101):
        called(ms=ms)
    for _ in range(50):
        called(ago=timedelta(hours=30))

    totals = Ledger().totals()

    assert (totals.requests, totals.change, totals.slow_ms) == (100, 100, pytest.approx(96, rel=0.05))


def test_an_empty_ledger_knows_nothing(db):
    assert Ledger().totals() == figures.Totals(requests=0)


def test_spend_is_summed_by_connection_and_unknown_stays_unknown(db):
    priced, unpriced = uuid.uuid4(), uuid.uuid4()
    called(cost=3, connection=priced)
    called(cost=4, connection=priced)
    called(connection=priced)
    called(connection=unpriced)
    called(ago=timedelta(days=40), cost=100, connection=priced)

    assert Ledger().spend() == {priced: 7, unpriced: None}
    assert Ledger().totals().spend == 7


def test_waiting_jobs_are_those_not_ended(alice):
    for state in Job.State:
        Job.objects.create(owner=alice, mode="chat", model="main/a", request={}, state=state, deadline=timezone.now())

    assert Ledger().waiting_jobs(["main/a", "main/b"]) == 2
    assert Ledger().waiting_jobs(["main/b"]) == 0


def test_sums_are_kept_for_a_moment(db, monkeypatch):
    ledger, now = Ledger(), [0.0]
    monkeypatch.setattr("gateway.ledger.figures.monotonic", lambda: now[0])
    assert ledger.totals().requests == 0
    called()

    assert ledger.totals().requests == 0
    now[0] = FRESH + 1
    assert ledger.totals().requests == 1


def test_the_pages_read_this_ledger():
    assert isinstance(figures.ledger(), Ledger)
