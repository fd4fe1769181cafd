"""M4, M5, M9: debits from four processes at once, one of which may die. The long form is `make chaos`."""

import time
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import Group
from django.db.models.functions import Now

from access.models import EVERYONE
from bench.debits import outcome_of, start_workers
from gateway import interrupted
from gateway.budgets import acts, leases
from gateway.ledger import notes
from gateway.metering import commit_each, journal_folder
from gateway.models import Budget, BudgetLease, BudgetWindow, Usage
from tests.chaos.verdicts import Verdict
from tests.conftest import make_user
from tests.mesh import MODELS, make_connection
from tests.workers import database_url

pytestmark = pytest.mark.timeout(1200)
MODEL = f"openai/{MODELS['openai']}"


@pytest.fixture
def caller(transactional_db, upstream, monkeypatch):
    """Asks through processes of its own, which write to the test's database."""
    make_connection(upstream, "openai", group=Group.objects.get_or_create(name=EVERYONE)[0])
    monkeypatch.setenv("DATABASE_URL", database_url())
    return make_user("caller")


def orders(processes: int = 4, **order):
    return [{"model": MODEL, "user": "caller", "lines": 16, "seed": seed, **order} for seed in range(processes)]


def booked(window: BudgetWindow, money: bool) -> int:
    """By the ledger."""
    rows = [row for row in Usage.objects.exclude(budgets=[]) if window.pk in row.budgets]
    return sum(row.cost if money else row.prompt_tokens + row.completion_tokens for row in rows)


def check_exact(verdict: Verdict, budget: Budget) -> BudgetWindow:
    (window,) = budget.windows.all()
    ledger = booked(window, budget.what == "money")
    verdict.count(**{f"{budget.what}_of": budget.amount, f"{budget.what}_spent": window.spent})
    verdict.check(window.spent <= budget.amount, f"never more than {budget.amount}: {window.spent} were spent")
    verdict.check(window.spent == ledger, f"the ledger says {ledger}, the budget {window.spent}")
    verdict.check(window.reserved == 0, f"nothing is still reserved: {window.reserved} are")
    return window


def test_two_budgets_at_once(caller, ada, verdict: Verdict):
    """M4: debits on two budgets over four processes"""
    calls = verdict.size(150, 2_500)
    wide = acts.add_budget(ada, scope="all", what="tokens", amount=10**9, window="month")
    narrow = acts.add_budget(ada, scope="all", what="money", amount=calls * 4 * 8_000, window="month")

    found = [outcome_of(worker) for worker in start_workers(orders(calls=calls))]

    passed, refused = (sum(one[name] for one in found) for name in ("passed", "refused"))
    verdict.count(debits=passed + refused, passed=passed, refused=refused)
    verdict.check(refused > 0, "the end of the budget was met")
    check_exact(verdict, wide)
    window = check_exact(verdict, narrow)
    left, dearest = narrow.amount - window.spent, max(row.cost for row in Usage.objects.exclude(cost=None))
    verdict.count(left=left, dearest_call=dearest)
    verdict.check(not BudgetLease.objects.exists(), "no lease is left")


def test_a_holder_dies(caller, ada, verdict: Verdict):
    """M4: a process is killed with calls under way"""
    budget = acts.add_budget(ada, scope="all", what="tokens", amount=10**9, window="month")
    (worker,) = start_workers(orders(1, calls=20, hold=True))
    assert worker.stdout.readline().strip() == "holding"
    worker.kill()
    worker.wait()
    held = BudgetWindow.objects.get().reserved
    verdict.check(held > 0, "the dead process holds credit")

    if verdict.long:
        until = time.monotonic() + 2 * leases.LEASE.total_seconds()
        while BudgetLease.objects.exists() and time.monotonic() < until:
            leases.sweep()
            time.sleep(1)
    else:  # its time is over at once
        BudgetLease.objects.update(expires_at=Now() - timedelta(seconds=1))
        leases.sweep()

    before = check_exact(verdict, budget).spent
    notes.replay(journal_folder(), partial(interrupted.book, write=commit_each))
    window = check_exact(verdict, budget)
    row = Usage.objects.get(error_code="interrupted")
    verdict.count(held=held, interrupted=row.prompt_tokens)
    verdict.check(window.spent == before + row.prompt_tokens, "what was sent is booked on the budget")
