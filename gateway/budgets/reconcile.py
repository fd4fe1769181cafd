"""Proves that what budgets have booked is what the calls say, and what they reserve what their leases hold."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Max, Min, QuerySet, Sum
from django.db.models.functions import Coalesce

from gateway.ledger.adding import kept_from
from gateway.ledger.reconcile import Difference
from gateway.models import Budget, BudgetWindow, Usage

ROUND = timedelta(hours=1)
"""A call's time is this process's, its window's the database's: they lie no further apart."""


def check_spent(since: datetime, until: datetime) -> Iterator[Difference]:
    """Of the windows that nobody books on meanwhile, and whose calls are all kept."""
    windows = BudgetWindow.objects.filter(ends_at__gt=since, starts_at__lt=until, starts_at__gte=kept_from())
    before = dict(windows.values_list("pk", "spent"))
    said = _by_calls(windows)
    for window in windows.select_related("budget"):
        spent = said.get(window.pk, 0)
        if window.spent != spent and before.get(window.pk) == window.spent:
            yield Difference("budgets", _place(window), "spent", spent, window.spent)


def check_reserved(since: datetime, until: datetime) -> Iterator[Difference]:
    windows = BudgetWindow.objects.annotate(leased=Coalesce(Sum("leases__amount"), 0)).select_related("budget")
    for window in windows.filter(ends_at__gt=since, starts_at__lt=until).order_by("pk"):
        if window.leased != window.reserved:
            yield Difference("budgets", _place(window), "reserved", window.leased, window.reserved)


def _by_calls(windows: "QuerySet[BudgetWindow]") -> dict[int, int]:
    """What the calls say was spent of each."""
    in_money = {pk: what == Budget.What.MONEY for pk, what in windows.values_list("pk", "budget__what")}
    ends = windows.aggregate(first=Min("starts_at"), last=Max("ends_at"))
    sums = dict.fromkeys(in_money, 0)
    if not in_money:
        return sums
    calls = Usage.objects.filter(at__gte=ends["first"] - ROUND, at__lt=ends["last"] + ROUND).exclude(budgets=[])
    columns = calls.values_list("budgets", "cost", "prompt_tokens", "completion_tokens")
    for booked_on, cost, prompt, completion in columns.iterator(chunk_size=2_000):
        for window in booked_on:
            if window in sums:
                sums[window] += (cost or 0) if in_money[window] else (prompt or 0) + (completion or 0)
    return sums


def _place(window: BudgetWindow) -> str:
    whose = f" {window.counted}" if window.counted else ""
    return f"{window.budget}{whose}, from {window.starts_at:%Y-%m-%d %H:%M}"
