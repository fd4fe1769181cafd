"""Budgets as callers meet them: what is booked, refused or sent elsewhere, and what the answer says."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from access import keys
from access.models import User
from connections.models import Model
from gateway.models import Budget, BudgetLease, BudgetOverride, BudgetWindow, Route, Usage
from tests.gateway.contract import chat, check_refusal
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
GPT, CLAUDE, LOCAL = "openai/gpt-4o-mini", "anthropic/claude-sonnet-5-5", "compatible/local-chat"


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


@pytest.fixture
def budget(mesh):
    """Sets a budget for the length of one test."""

    def make(**columns):
        made = Budget.objects.create(**{"scope": "all", "what": "tokens", "amount": 10**6, "window": "day", **columns})
        mesh.refresh()
        return made

    yield make
    Budget.objects.all().delete()
    Route.objects.all().delete()
    mesh.refresh()


def ask(mesh, **fields):
    return mesh.post(CHAT, {**chat("openai"), **fields})


def settled(budget):
    """Its only window, once no call holds anything of it."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        window = BudgetWindow.objects.get(budget=budget)
        if not window.reserved:
            return window
        time.sleep(0.05)
    raise AssertionError(f"{window.reserved} are still reserved")


def test_a_call_is_booked_at_what_it_cost(mesh, budget):
    tokens, money = budget(), budget(what="money", amount=10**9)

    row = mesh.usage(ask(mesh, max_tokens=20))

    assert settled(tokens).spent == row.prompt_tokens + row.completion_tokens > 0
    assert settled(money).spent == row.cost > 0
    assert sorted(row.budgets) == sorted(BudgetWindow.objects.values_list("pk", flat=True))
    assert not BudgetLease.objects.exists()


def test_what_is_used_up_refuses_and_says_until_when(mesh, upstream, budget):
    mine = budget(amount=120, scope="each_key")
    answers = [ask(mesh, max_tokens=60) for _ in range(8)]
    refused = answers[-1]

    assert [answer.status for answer in answers[:2]] == [200, 200]
    check_refusal(refused, 429, "budget_exceeded")
    assert refused.headers["x-should-retry"] == "false"
    assert "of the budget of 120 tokens per day for this API key" in refused.error["message"]
    assert "starts anew on" in refused.error["message"]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert abs(int(refused.headers["retry-after"]) - (midnight - datetime.now(UTC)).total_seconds()) < 30
    assert len(upstream.requests) == [answer.status for answer in answers].count(200)
    row = mesh.usage(refused)
    assert (row.status, row.error_code, row.cost, row.budgets) == (429, "budget_exceeded", 0, [])
    window = settled(mine)
    booked = [row for row in Usage.objects.all() if window.pk in row.budgets]
    assert window.spent == sum(row.prompt_tokens + row.completion_tokens for row in booked) <= 120


def test_a_spent_budget_is_said_to_be_used_up(mesh, budget):
    mine = budget(amount=100)
    mesh.usage(ask(mesh, max_tokens=20))
    window = settled(mine)
    BudgetWindow.objects.filter(pk=window.pk).update(spent=100)

    message = ask(mesh, max_tokens=20).error["message"]

    assert re.match("The budget of 100 tokens per day for everybody together is used up. It starts anew on", message)


def test_a_failed_call_costs_nothing_and_gives_its_credit_back(mesh, upstream, budget):
    mine, money = budget(amount=200), budget(what="money", amount=10**9)
    upstream.script(*[Fault.status(400)] * 6)

    statuses = [ask(mesh, max_tokens=100).status for _ in range(6)]

    assert statuses == [400] * 6
    assert (settled(mine).spent, settled(money).spent, settled(money).unknown) == (0, 0, 0)


@pytest.mark.parametrize("about", [{"scope": "all"}, {"scope": "model", "subject": GPT}], ids=["caller", "model"])
def test_a_call_passes_all_budgets_or_counts_against_none(mesh, budget, about):
    wide, narrow = budget(**about), budget(amount=1, scope="each_key")

    check_refusal(ask(mesh, max_tokens=20), 429, "budget_exceeded")

    assert settled(wide).spent == 0
    assert settled(narrow).spent == 0


def test_a_warning_never_stops(mesh, budget):
    soft = budget(amount=1, at_end="warn")

    assert [ask(mesh, max_tokens=20).status for _ in range(2)] == [200, 200]

    assert settled(soft).spent > 1


def test_a_stream_is_booked_too(mesh, budget):
    mine = budget()

    answer = ask(mesh, stream=True, max_tokens=20)

    assert answer.events[-1] == "[DONE]"
    row = mesh.usage(answer)
    assert settled(mine).spent == row.prompt_tokens + row.completion_tokens > 0


def test_another_models_budget_is_not_touched(mesh, budget):
    other = budget(scope="model", subject=CLAUDE)

    assert ask(mesh).status == 200

    assert not BudgetWindow.objects.filter(budget=other).exists()


def test_a_model_without_a_price_cannot_keep_a_budget_of_money(mesh, budget):
    budget(what="money")

    refused = ask(mesh, model=LOCAL)

    check_refusal(refused, 429, "budget_exceeded")
    assert f"The price of {LOCAL} is not known" in refused.error["message"]
    assert "set a price" in refused.error["message"]


def test_calls_of_unknown_cost_are_counted(mesh, budget):
    soft = budget(what="money", at_end="warn")

    assert ask(mesh, model=LOCAL).status == 200

    window = settled(soft)
    assert (window.spent, window.unknown) == (0, 1)


# --- elsewhere ------------------------------------------------------------------------------------------------


def test_what_is_used_up_sends_calls_to_another_model(mesh, upstream, budget):
    mine = budget(amount=30, at_end="switch", switch_to=CLAUDE)

    answer = ask(mesh, max_tokens=50)

    assert answer.status == 200
    assert answer.headers["x-mesh-model"] == CLAUDE
    assert answer.headers["x-mesh-switched-from"] == GPT
    assert f"model {GPT} replaced by {CLAUDE}" in answer.headers["x-mesh-adjusted"]
    row = mesh.usage(answer)
    assert row.model == CLAUDE
    assert row.adjusted[0].startswith(f"model {GPT} replaced by {CLAUDE}")
    assert settled(mine).spent == row.prompt_tokens + row.completion_tokens


def test_nobody_is_sent_where_they_may_not_go(mesh, upstream, budget):
    budget(amount=30, at_end="switch", switch_to=CLAUDE)
    _, limited = keys.issue(User.objects.get(username="caller"), "one", scopes=["generate"], allowed_models=[GPT])
    mesh.refresh()

    refused = mesh.post(CHAT, chat("openai", max_tokens=50), key=limited)

    check_refusal(refused, 429, "budget_exceeded")
    assert not upstream.requests
    assert mesh.usage(refused).model == GPT


def test_calls_are_sent_on_to_a_route(mesh, budget):
    route = Route.objects.create(name="cheap")
    route.targets.create(model=Model.objects.get(public_id=CLAUDE))
    budget(scope="model", subject=GPT, amount=30, at_end="switch", switch_to="cheap")

    answer = ask(mesh, max_tokens=50)

    assert (answer.status, answer.headers["x-mesh-model"]) == (200, CLAUDE)
    assert mesh.usage(answer).route == "cheap"


def test_a_switch_on_its_own_target_lets_the_call_go_on(mesh, budget):
    budget(amount=30, at_end="switch", switch_to=GPT)

    assert ask(mesh, max_tokens=50).status == 200


def test_budgets_that_point_at_each_other_send_a_call_round_once(mesh, budget):
    for here, there in ((GPT, CLAUDE), (CLAUDE, GPT)):
        budget(scope="model", subject=here, amount=1, at_end="switch", switch_to=there)

    answer = ask(mesh, max_tokens=50)

    assert (answer.status, answer.headers["x-mesh-model"]) == (200, GPT)


def test_a_route_passes_over_a_model_whose_budget_is_used_up(mesh, budget):
    route = Route.objects.create(name="both")
    for priority, name in enumerate((GPT, CLAUDE), 1):
        route.targets.create(model=Model.objects.get(public_id=name), priority=priority)
    spent, whole = budget(scope="model", subject=GPT, amount=1), budget()

    answer = ask(mesh, model="both", max_tokens=50)

    assert (answer.status, answer.headers["x-mesh-model"]) == (200, CLAUDE)
    assert (settled(spent).spent, settled(whole).spent > 0) == (0, True)


def test_only_the_model_that_answered_is_booked(mesh, upstream, budget):
    route = Route.objects.create(name="both")
    for priority, name in enumerate((GPT, CLAUDE), 1):
        route.targets.create(model=Model.objects.get(public_id=name), priority=priority)
    asked, answered = (budget(scope="model", subject=name) for name in (GPT, CLAUDE))
    upstream.script(Fault.status(500))

    answer = ask(mesh, model="both", max_tokens=20)

    assert answer.headers["x-mesh-model"] == CLAUDE
    row = mesh.usage(answer)
    assert (settled(asked).spent, settled(answered).spent) == (0, row.prompt_tokens + row.completion_tokens)


# --- overrides ------------------------------------------------------------------------------------------------


def override(mesh, budget, **columns):
    until = datetime.now(UTC) + timedelta(hours=1)
    row = BudgetOverride.objects.create(**{"budget": budget, "until": until, "reason": "a fair", **columns})
    mesh.refresh()
    return row


def test_an_override_adds_to_a_budget_until_it_is_revoked(mesh, budget):
    mine = budget(amount=10)
    assert ask(mesh, max_tokens=50).status == 429
    row = override(mesh, mine, extra=10_000)

    assert ask(mesh, max_tokens=50).status == 200

    settled(mine)
    BudgetOverride.objects.filter(pk=row.pk).update(revoked_at=datetime.now(UTC))
    mesh.refresh()
    assert ask(mesh, max_tokens=50).status == 429


def test_an_override_without_an_amount_lifts_the_budget(mesh, budget):
    mine = budget(amount=1)
    override(mesh, mine, extra=None)

    assert ask(mesh, max_tokens=50).status == 200

    assert settled(mine).spent > 1


def test_an_override_that_is_over_helps_nobody(mesh, budget):
    mine = budget(amount=10)
    override(mesh, mine, extra=None, until=datetime.now(UTC) - timedelta(seconds=1))

    assert ask(mesh, max_tokens=50).status == 429


# --- windows


def test_a_new_window_starts_anew(mesh, budget):
    """One of its own length that ends in a moment, by the database's clock."""
    ends = datetime.now(UTC) + timedelta(seconds=4)
    mine = budget(amount=100, window="own", hours=1, anchor=ends)
    assert ask(mesh, max_tokens=50).status == 200
    BudgetWindow.objects.update(spent=100)
    assert ask(mesh, max_tokens=50).status == 429

    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()))
    deadline = time.monotonic() + 20
    while (answer := ask(mesh, max_tokens=50)).status == 429 and time.monotonic() < deadline:
        time.sleep(0.05)

    assert answer.status == 200
    before, after = BudgetWindow.objects.filter(budget=mine).order_by("starts_at")
    assert (before.ends_at, after.starts_at) == (ends, ends)
    assert mesh.usage(answer).budgets == [after.pk]
