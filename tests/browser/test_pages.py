"""Every page, in both themes and at both widths: no accessibility violation, no sideways scrolling, no script error."""

import pytest
from playwright.sync_api import expect

from connections.models import HealthCheck, State
from gateway.ledger.record import Record
from gateway.limits import acts
from gateway.metering import commit
from gateway.models import Limit, Usage

PAGES = [
    "/playground/",
    "/models/",
    "/connections/",
    "/connections/new/",
    "/groups/",
    "/users/",
    "/keys/",
    "/routes/",
    "/routes/new/",
    "/usage/",
    "/limits/",
    "/limits/new/?scope=user",
    "/limits/mine/",
    "/budgets/",
    "/budgets/new/?scope=user",
    "/audit/",
    "/accounts/password/change/",
]


@pytest.fixture
def filled(mesh, connect, ada, alice, analysts, key_for):
    """Something to see on every page."""
    key_for(alice)
    connection = connect("openai", group=analysts)
    other = connect("anthropic", name="broken")
    for state, count in ((State.HEALTHY, 20), (State.SLOW, 3), (State.FAILING, 2)):
        for _ in range(count):
            HealthCheck.objects.create(connection=connection, state=state, total_ms=120, stages=[])
    type(other).objects.filter(pk=other.pk).update(state=State.FAILING, cause="The key was refused.")
    for state in Usage.State:
        record = Record.of(alice.principal, "chat", "v1", f"req_{state}")
        record.model, record.state, record.cost, record.adjusted = "openai/gpt-4o-mini", state, 1_234_567, ["n dropped"]
        commit([record])
    acts.add_limit(ada, scope="user", subject=str(alice.pk), what="requests", amount=60)
    acts.add_limit(ada, scope="all", what="parallel", amount=8)
    mesh.refresh()
    return connection


def test_the_sign_in_page(filled, site, check_accessibility):
    site.goto("/accounts/login/")
    check_accessibility()


def test_every_page_of_an_admin(filled, sign_in, check_accessibility):
    site = sign_in("ada")
    for address in PAGES:
        answer = site.goto(address)
        assert answer.status == 200, address
        assert site.locator("h1").count() == 1, address
        check_accessibility()


def test_a_connections_tabs(filled, sign_in, check_accessibility):
    site = sign_in("ada")
    site.goto(f"/connections/{filled.pk}/")
    addresses = site.locator("nav.tabs a").evaluate_all("links => links.map(link => link.href)")
    assert len(addresses) >= 5
    for address in addresses:
        assert site.goto(address).status == 200
        check_accessibility()


def test_a_limits_page(filled, sign_in, check_accessibility):
    site = sign_in("ada")
    for row in Limit.objects.all():
        site.goto(f"/limits/{row.pk}/")
        site.get_by_role("button", name="Remove").click()
        check_accessibility()


def test_the_description_of_the_api(mesh, site):
    site.goto("/api/docs/")

    expect(site.get_by_text("/api/connections/{id}/rotate/")).to_be_visible()
