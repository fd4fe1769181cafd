"""Windows and leases in the database (blocking). Whoever changes a lease holds its window's row first.

So `reserved` of a window is the sum of its leases after every transaction, whoever died before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Now

from gateway.budgets.windows import span
from gateway.models import Budget, BudgetLease, BudgetOverride, BudgetWindow

LEASE = timedelta(seconds=30)
"""A process that has died holds its credit no longer than this, and the time to the next sweep."""
AHEAD = 50
"""A lease takes at most this fraction of what is left beyond what is needed now."""


@dataclass(frozen=True, slots=True)
class Opened:
    window: int
    starts: float
    """Unix time."""
    ends: float
    now: datetime


@dataclass(frozen=True, slots=True)
class Granted:
    amount: int
    left: int
    """What nobody had spent or reserved before."""
    now: datetime


def open_window(budget: int, counted: str) -> Opened | None:
    """The window of this moment by the database's clock; None: the budget is gone."""
    row = Budget.objects.annotate(now=Now()).filter(pk=budget).first()
    if row is None:
        return None
    now = row.now
    found = span(row.window, row.hours, row.anchor, now)
    window, _ = BudgetWindow.objects.get_or_create(
        budget_id=budget, counted=counted, starts_at=found.starts, defaults={"ends_at": found.ends}
    )
    return Opened(window.pk, found.starts.timestamp(), found.ends.timestamp(), now)


def acquire(window: int, owner: str, needs: Sequence[int], free: int, ahead: int) -> Granted | None:
    """Credit for as many of `needs` as there is credit for, in their order. None: the window is gone.

    `free`: what the owner has left of its lease. `ahead`: what it would like beside, for the calls to come.
    """
    with transaction.atomic():
        while row := _state(window):
            left = max(0, row.ceiling - row.spent - row.reserved)
            amount = _share(needs, free, left, ahead)
            if not amount or _take(window, amount, row.ceiling):
                _lend(window, owner, amount)
                return Granted(amount, left, row.now)
            ahead = 0  # somebody else was faster, so there is little left
        return None


@dataclass(frozen=True, slots=True)
class _State:
    spent: int
    reserved: int
    ceiling: int
    now: datetime


def _state(window: int) -> _State | None:
    columns = ("spent", "reserved", "budget__amount", "budget_id", "now")
    row = BudgetWindow.objects.annotate(now=Now()).filter(pk=window).values_list(*columns).first()
    if row is None:
        return None
    spent, reserved, amount, budget, now = row
    return _State(spent, reserved, amount + added_by_overrides(budget), now)


def added_by_overrides(budget: int) -> int:
    """What overrides add at this moment."""
    held = BudgetOverride.objects.filter(budget=budget, revoked_at=None, until__gt=Now())
    return held.aggregate(sum=Sum("extra"))["sum"] or 0


def _share(needs: Sequence[int], free: int, left: int, ahead: int) -> int:
    """How much to take: for each that fits, and a few calls ahead while plenty is left."""
    taken = 0
    for need in needs:
        if taken + need <= free + left:
            taken += need
    if not taken:
        return 0
    short = max(0, taken - free)
    ahead = min(ahead, (left - short) // AHEAD)
    return short + (ahead if ahead >= needs[0] else 0)


def _take(window: int, amount: int, ceiling: int) -> bool:
    enough = BudgetWindow.objects.filter(pk=window, spent__lte=ceiling - amount - F("reserved"))
    return bool(enough.update(reserved=F("reserved") + amount))


def _lend(window: int, owner: str, amount: int) -> None:
    if not amount:
        return
    held = BudgetLease.objects.filter(window=window, owner=owner)
    if not held.update(amount=F("amount") + amount, expires_at=Now() + LEASE):
        BudgetLease.objects.create(window_id=window, owner=owner, amount=amount, expires_at=Now() + LEASE)


def give_back(window: int, owner: str, amount: int) -> None:
    """A part of the lease that nobody needed."""
    with transaction.atomic():
        _lock(window)
        held = BudgetLease.objects.filter(window=window, owner=owner, amount__gte=amount)
        if held.update(amount=F("amount") - amount):
            BudgetWindow.objects.filter(pk=window).update(reserved=F("reserved") - amount)


def release(window: int, owner: str) -> None:
    """The whole lease."""
    with transaction.atomic():
        _lock(window)
        _end(BudgetLease.objects.filter(window=window, owner=owner).first())


def release_all(owner: str) -> None:
    """At the end of the owner's life."""
    for window in list(BudgetLease.objects.filter(owner=owner).values_list("window_id", flat=True)):
        release(window, owner)


def renew(owner: str) -> dict[int, datetime]:
    """Keep the owner's leases. Tells of which windows they are, each with the time."""
    held = BudgetLease.objects.filter(owner=owner)
    held.update(expires_at=Now() + LEASE)
    return dict(held.annotate(now=Now()).values_list("window_id", "now"))


def sweep() -> None:
    """End the leases that nobody renewed: their owners have died."""
    for pk, window in BudgetLease.objects.filter(expires_at__lt=Now()).values_list("pk", "window_id"):
        with transaction.atomic():
            _lock(window)
            _end(BudgetLease.objects.filter(pk=pk, expires_at__lt=Now()).first())


def _lock(window: int) -> None:
    list(BudgetWindow.objects.select_for_update().filter(pk=window).values_list("pk"))


def _end(lease: BudgetLease | None) -> None:
    if lease is not None:
        BudgetWindow.objects.filter(pk=lease.window_id).update(reserved=F("reserved") - lease.amount)
        lease.delete()
