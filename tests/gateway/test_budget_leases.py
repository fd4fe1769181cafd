"""Leases of credit: never more than there is, given back when idle, and ended when their owner has died."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models.functions import Now

from access.threads import in_thread
from gateway.budgets import leases
from gateway.budgets.clock import Clock
from gateway.budgets.credit import Credit, Gone, Spent
from gateway.ledger import reconcile
from gateway.metering import commit
from gateway.models import Budget, BudgetLease, BudgetOverride, BudgetWindow, Usage
from tests.gateway.test_metering import record


@pytest.fixture
def budget(transactional_db):
    return Budget.objects.create(scope="all", what="tokens", amount=1_000, window="day")


def credit(budget, owner="a"):
    return Credit(leases.open_window(budget.pk, ""), owner, Clock())


async def taken(held, need):
    """Whether there was so much."""
    with suppress(Spent):
        if not held.take(need):
            await held.fetch(need)
        return True
    return False


async def written():
    """Every row is in the database."""


def figures():
    """Spent, reserved, and what the leases hold."""
    window = BudgetWindow.objects.get()
    return window.spent, window.reserved, sum(BudgetLease.objects.values_list("amount", flat=True))


def book(window, tokens, owner):
    made = record(prompt_tokens=tokens, completion_tokens=0, budgets=[window], leased={window: owner} if owner else {})
    commit([made])
    return made


async def test_all_who_wait_are_served_as_far_as_it_goes(budget):
    held = await in_thread(credit, budget)

    served = await asyncio.gather(*(taken(held, 150) for _ in range(10)))

    assert served == [True] * 6 + [False] * 4
    assert await in_thread(figures) == (0, 900, 900)


async def test_two_owners_never_have_more_than_there_is(budget):
    one, other = [await in_thread(credit, budget, owner) for owner in "ab"]

    served = await asyncio.gather(*(taken(held, 70) for _ in range(20) for held in (one, other)))

    assert served.count(True) == 1_000 // 70
    assert await in_thread(figures) == (0, 980, 980)


async def test_with_plenty_left_a_lease_is_for_calls_to_come(budget):
    await in_thread(Budget.objects.update, amount=10**6)
    held = await in_thread(credit, budget)

    assert await taken(held, 100)

    assert held.free == 400
    assert held.take(400)


async def test_what_nobody_needs_is_given_back(budget):
    await in_thread(Budget.objects.update, amount=10**6)
    held = await in_thread(credit, budget)
    assert await taken(held, 100)

    for _ in range(2):
        await held.tidy(written)
    assert await in_thread(figures) == (0, 100, 100)

    held.settle(100, 0)
    for _ in range(2):
        await held.tidy(written)
    assert await in_thread(figures) == (0, 0, 0)
    assert not await in_thread(BudgetLease.objects.exists)
    assert await taken(held, 100)


async def test_a_call_that_begins_while_a_lease_is_given_back_keeps_it(budget):
    held = await in_thread(credit, budget)
    assert await taken(held, 100)
    held.settle(100, 0)

    async def written_meanwhile():
        assert held.take(60)

    for _ in range(2):
        await held.tidy(written_meanwhile if not held.used else written)

    assert held.used == 60
    assert (await in_thread(figures))[1] >= 60


async def test_whoever_leaves_while_waiting_takes_nothing(budget):
    held = await in_thread(credit, budget)
    waiting = asyncio.create_task(taken(held, 100))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert await taken(held, 1_000)


async def test_a_lost_lease_is_asked_for_again_with_what_is_under_way(budget):
    held = await in_thread(credit, budget)
    assert await taken(held, 100)
    await in_thread(BudgetLease.objects.update, expires_at=Now() - timedelta(seconds=1))
    await in_thread(leases.sweep)
    assert await in_thread(figures) == (0, 0, 0)

    held.lost()
    assert not held.take(1)
    assert await taken(held, 50)

    assert await in_thread(figures) == (0, 150, 150)


async def test_a_process_that_froze_asks_before_it_spends(budget):
    held = await in_thread(credit, budget)
    assert await taken(held, 100)
    held.settle(100, 0)

    held.renewed(until=0.0)

    assert not held.take(1)


def test_a_lease_that_is_renewed_is_not_swept(budget):
    window = leases.open_window(budget.pk, "").window
    leases.acquire(window, "a", [100], 0, 0)
    BudgetLease.objects.update(expires_at=Now() - timedelta(seconds=1))

    assert set(leases.renew("a")) == {window}
    leases.sweep()

    assert figures() == (0, 100, 100)


def test_an_override_counts_until_it_is_over(budget):
    window = leases.open_window(budget.pk, "").window
    row = BudgetOverride.objects.create(budget=budget, extra=500, until=datetime.now(UTC) + timedelta(hours=1))

    assert leases.acquire(window, "a", [1_400], 0, 0).amount == 1_400
    leases.release(window, "a")
    BudgetOverride.objects.filter(pk=row.pk).update(until=datetime.now(UTC) - timedelta(seconds=1))
    assert leases.acquire(window, "a", [1_400], 0, 0).amount == 0


async def test_a_budget_that_was_deleted_holds_nobody_up(budget):
    held = await in_thread(credit, budget)
    await in_thread(budget.delete)

    with pytest.raises(Gone):
        await held.fetch(1)


# --- booking


def test_what_a_call_cost_is_taken_from_its_lease(budget):
    window = leases.open_window(budget.pk, "").window
    leases.acquire(window, "a", [100], 0, 0)

    book(window, 60, "a")

    assert figures() == (60, 40, 40)


def test_a_call_that_cost_more_than_its_lease_empties_it(budget):
    window = leases.open_window(budget.pk, "").window
    leases.acquire(window, "a", [100], 0, 0)
    leases.acquire(window, "b", [100], 0, 0)

    book(window, 130, "a")

    assert figures() == (130, 100, 100)


def test_whoever_lost_the_lease_still_pays_and_reserves_nothing_below_zero(budget):
    window = leases.open_window(budget.pk, "").window
    leases.acquire(window, "b", [10], 0, 0)

    book(window, 60, "a")

    assert figures() == (60, 10, 10)


def test_a_row_that_comes_again_is_booked_once(budget):
    window = leases.open_window(budget.pk, "").window

    made = book(window, 60, "")
    commit([made])

    assert figures() == (60, 0, 0)
    assert Usage.objects.get().budgets == [window]


def test_calls_of_one_group_are_booked_on_all_their_windows(budget):
    money = Budget.objects.create(scope="all", what="money", amount=10**9, window="month")
    tokens, nano = (leases.open_window(one.pk, "").window for one in (budget, money))
    leases.acquire(tokens, "a", [100], 0, 0)
    leases.acquire(nano, "b", [900], 0, 0)
    paid = {"budgets": [nano, tokens], "leased": {tokens: "a", nano: "b"}}

    commit([record(prompt_tokens=5, completion_tokens=2, cost=cost, **paid) for cost in (300, None, 500)])

    found = {window.pk: window for window in BudgetWindow.objects.all()}
    assert (found[tokens].spent, found[tokens].reserved, found[tokens].unknown) == (21, 79, 0)
    assert (found[nano].spent, found[nano].reserved, found[nano].unknown) == (800, 100, 1)
    assert _differences() == []


def test_the_books_name_a_budget_that_says_something_else(budget):
    window = leases.open_window(budget.pk, "").window
    book(window, 60, "")
    BudgetWindow.objects.update(spent=61, reserved=5)

    found = _differences()

    assert [(one.figure, one.calls, one.found) for one in found] == [("spent", 60, 61), ("reserved", 0, 5)]


def _differences():
    now = datetime.now(UTC)
    return [one for one in reconcile.differences(now - timedelta(days=40), now) if one.book == "budgets"]
