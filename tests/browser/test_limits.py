"""Limits as an admin sets them and an analyst meets them, counted by a real Valkey."""

import pytest
from playwright.sync_api import expect

from access import keys
from gateway.limits import acts
from gateway.models import Limit
from tests.browser.conftest import shoot


@pytest.fixture(autouse=True)
def counted_together(settings, valkey):
    settings.REDIS_URL = valkey


def test_an_admin_sets_a_limit_and_an_analyst_meets_it(
    mesh, upstream, connect, ada, alice, analysts, sign_in, check_accessibility
):
    connect("openai", group=analysts)
    key, _ = keys.issue(alice, "billing service", scopes=["generate"])
    mesh.refresh()
    site = sign_in("ada")
    site.get_by_role("navigation", name="Main").get_by_role("link", name="Limits").click()
    expect(site.get_by_text("There is no limit")).to_be_visible()
    check_accessibility()
    shoot(site, "empty")

    site.get_by_role("link", name="Add limit").last.click()
    site.get_by_label("For", exact=True).select_option("One user")
    site.get_by_label("User", exact=True).select_option("alice")
    site.get_by_label("Limit", exact=True).select_option("Parallel calls")
    expect(site.get_by_label("Per", exact=True)).to_be_hidden()
    site.get_by_label("Limit", exact=True).select_option("Requests")
    site.get_by_label("Amount").fill("1")
    site.get_by_label("Per", exact=True).select_option("hour")
    check_accessibility()
    shoot(site, "new")
    site.get_by_role("button", name="Add limit").click()
    expect(site.get_by_text("1 request per hour for One user: alice: counted from now on.")).to_be_visible()
    assert Limit.objects.get().subject == str(alice.pk)
    mesh.refresh()

    site = sign_in("alice")
    site.goto("/playground/")
    expect(site.get_by_text("1 limit on your calls to this model")).to_be_visible()
    for answers in (1, 2):
        site.get_by_label("Your message").fill("Tell me a story")
        site.get_by_label("Your message").press("Control+Enter")
        expect(site.locator(".run .metrics")).to_have_count(answers)
    told = site.locator(".alarm").last  # for a moment, htmx shows the old and the new run
    expect(told).to_contain_text("The limit of 1 request per hour is reached for this user. Try again in 60 min, at ")
    site.get_by_text("1 limit on your calls to this model").click()
    check_accessibility()
    shoot(site, "playground")

    site.get_by_role("link", name="How much of it is taken").click()
    expect(site.get_by_role("row", name="1 request per hour")).to_contain_text("1 of 1")
    check_accessibility()
    shoot(site, "mine")

    for scope, subject in [("key", key.public_id), ("group", str(analysts.pk)), ("each_key", ""), ("all", "")]:
        acts.add_limit(ada, scope=scope, subject=subject, what="tokens", amount=1_000_000, seconds=3600)
    site = sign_in("ada")
    site.goto("/limits/")
    expect(site.get_by_role("row", name="alice One user")).to_contain_text("1 of 1 full")
    check_accessibility()
    shoot(site, "list")
    site.get_by_role("link", name="Change 1 request per hour for One user: alice").click()
    shoot(site, "change")
    site.get_by_role("button", name="Switch off").click()
    expect(site.get_by_role("row", name="alice One user")).to_contain_text("Off")
