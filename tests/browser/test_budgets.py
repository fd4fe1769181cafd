"""Budgets as an admin sets them and an analyst meets them."""

from datetime import UTC, datetime, timedelta

from playwright.sync_api import expect

from gateway.budgets import acts
from gateway.models import Budget, BudgetWindow
from tests.browser.conftest import shoot


def test_an_admin_sets_a_budget_and_an_analyst_meets_it(
    mesh, upstream, connect, ada, alice, analysts, sign_in, check_accessibility
):
    connect("openai", group=analysts)
    mesh.refresh()
    site = sign_in("ada")
    site.get_by_role("navigation", name="Main").get_by_role("link", name="Budgets").click()
    expect(site.get_by_text("There is no budget")).to_be_visible()
    check_accessibility()

    site.get_by_role("link", name="Add budget").first.click()
    site.get_by_label("For", exact=True).select_option("One user")
    site.get_by_label("User", exact=True).select_option("alice")
    site.get_by_label("Amount").fill("5")
    site.get_by_label("Of", exact=True).select_option("Tokens")
    expect(site.get_by_label("Hours")).to_be_hidden()
    site.get_by_label("Per", exact=True).select_option("Own length")
    expect(site.get_by_label("Hours")).to_be_visible()
    site.get_by_label("At its end").select_option("Ask another model or route")
    expect(site.get_by_label("Ask instead")).to_be_visible()
    check_accessibility()
    shoot(site, "new")
    site.get_by_label("Per", exact=True).select_option("Month")
    site.get_by_label("At its end").select_option("Refuse calls")
    site.get_by_role("button", name="Add budget").click()
    expect(site.get_by_text("5 tokens per month for One user: alice: counted from now on.")).to_be_visible()
    mesh.refresh()

    site = sign_in("alice")
    site.goto("/playground/")
    site.get_by_label("Your message").fill("Tell me a story")
    site.get_by_label("Your message").press("Control+Enter")
    expect(site.locator(".alarm")).to_contain_text("left of the budget of 5 tokens per month for this user")
    shoot(site, "refused")
    site.goto("/usage/")
    expect(site.get_by_role("row", name="5 tokens per month")).to_contain_text("0 tokens of 5 tokens")
    check_accessibility()
    shoot(site, "usage")
    site.goto("/limits/mine/")
    check_accessibility()
    shoot(site, "mine")

    budget = Budget.objects.get()
    monthly = acts.add_budget(ada, scope="all", what="money", amount=100 * 10**9, window="month")
    acts.add_budget(ada, scope="each_key", what="money", amount=10**9, window="day", at_end="warn")
    for back in range(12):
        starts = datetime(2026, 12 - back, 1, tzinfo=UTC)
        span = {"starts_at": starts, "ends_at": starts + timedelta(days=30)}
        BudgetWindow.objects.create(budget=monthly, spent=(9 + 7 * back) * 10**9, reserved=3 * 10**9, **span)
    now = datetime.now(UTC)
    BudgetWindow.objects.filter(budget=monthly, starts_at__lte=now, ends_at__gt=now).update(unknown=2)
    acts.override_budget(ada, monthly, until=now + timedelta(days=1), reason="the fair in Hanover", extra=20 * 10**9)
    site = sign_in("ada")
    site.goto("/budgets/")
    expect(site.get_by_role("row", name="Everybody together")).to_contain_text("overridden")
    check_accessibility()
    shoot(site, "list")
    for one in (monthly, budget):
        site.goto(f"/budgets/{one.pk}/")
        check_accessibility()
        shoot(site, f"budget-{one.what}")
    site.get_by_role("button", name="Remove").click()
    check_accessibility()
