"""What would happen, as an admin looks it up, with scripts and without."""

from playwright.sync_api import expect

from access import keys
from gateway.limits import acts
from gateway.models import Route
from tests.browser.conftest import shoot


def test_an_admin_sees_what_would_happen_to_somebody(
    mesh, upstream, connect, ada, alice, charlie, analysts, sign_in, check_accessibility
):
    first, second = connect("openai", group=analysts), connect("anthropic", group=analysts)
    route = Route.objects.create(name="team-chat")
    for priority, connection in enumerate((first, second), 1):
        route.targets.create(model=connection.models.get(), priority=priority)
    acts.add_limit(ada, scope="each_user", what="requests", amount=60)
    keys.issue(alice, "billing service", scopes=["generate"])
    mesh.refresh()
    site = sign_in("ada")
    site.get_by_role("navigation", name="Main").get_by_role("link", name="What would happen").click()
    check_accessibility()
    shoot(site, "explain-empty")

    site.get_by_label("User", exact=True).select_option("alice")
    site.get_by_label("Model or route").fill("team-chat")
    site.get_by_role("button", name="Explain").click()
    expect(site.get_by_text("openai/gpt-4o-mini of openai would answer alice")).to_be_visible()
    expect(site.get_by_text("60 requests per minute for this user")).to_be_visible()
    check_accessibility()
    shoot(site, "explain-answer")

    site.get_by_label("User", exact=True).select_option("charlie")
    site.get_by_role("button", name="Explain").click()
    expect(site.get_by_text("The call of charlie would be refused.")).to_be_visible()
    check_accessibility()
    shoot(site, "explain-refusal")
    site.get_by_label("Model or route").fill("")
    site.get_by_role("button", name="Explain").click()
    expect(site.get_by_text("This field is required.")).to_be_visible()

    site.goto("/routes/")
    site.get_by_role("link", name="Explain a call to team-chat").click()
    expect(site.get_by_text("The call of ada would be refused.")).to_be_visible()
    assert upstream.requests == []
