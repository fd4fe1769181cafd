"""A route as an admin makes it, row by row, with and without scripts."""

from playwright.sync_api import expect

from gateway.models import Route
from tests.browser.conftest import shoot
from tests.upstream.faults import Fault


def targets():
    return list(Route.objects.get().targets.values_list("model__public_id", "priority", "weight"))


def test_an_admin_makes_a_route_row_by_row(mesh, connect, ada, analysts, sign_in, check_accessibility):
    connect("openai", group=analysts)
    connect("anthropic", group=analysts)
    connect("llamacpp", group=analysts)
    site = sign_in("ada")
    site.goto("/routes/new/")
    site.get_by_label("Name", exact=True).fill("team-chat")
    first, second = (site.get_by_role("group", name=f"Model {number}", exact=True) for number in (1, 2))
    first.get_by_label("Model").select_option("openai/gpt-4o-mini")
    second.get_by_label("Model").select_option("anthropic/claude-sonnet-5-5")
    second.get_by_label("Priority").fill("2")
    site.get_by_role("button", name="Add a model").click()
    third = site.get_by_role("group", name="Model 3", exact=True)
    expect(third.get_by_label("Priority")).to_have_value("2")
    third.get_by_label("Model").select_option("llamacpp/smollm2")
    check_accessibility()
    shoot(site, "route-new")

    second.get_by_role("button", name="Remove model 2").click()
    expect(third).to_have_count(0)
    site.get_by_label("Name", exact=True).press("Enter")
    expect(site.get_by_text("team-chat can be asked now.")).to_be_visible()
    assert targets() == [("openai/gpt-4o-mini", 1, 1), ("llamacpp/smollm2", 2, 1)]

    site.get_by_role("link", name="Edit team-chat").click()
    first.get_by_label("Weight").fill("0")
    site.get_by_role("button", name="Save", exact=True).last.click()
    expect(first.get_by_text("greater than or equal to 1")).to_be_visible()
    check_accessibility()
    shoot(site, "route-wrong")


def test_an_analyst_asks_a_route(mesh, upstream, connect, alice, analysts, sign_in, check_accessibility):
    models = [connect(dialect, group=analysts).models.get() for dialect in ("openai", "anthropic")]
    route = Route.objects.create(name="team-chat")
    for priority, model in enumerate(models, 1):
        route.targets.create(model=model, priority=priority)
    mesh.refresh()
    upstream.script(Fault.status(503))
    site = sign_in("alice")
    site.goto("/playground/")
    site.locator(".picker summary").click()
    site.get_by_placeholder("Search models").fill("route")
    shoot(site, "route-picker")
    site.get_by_role("radio", name="team-chat").check()
    expect(site.get_by_text("Ask team-chat anything.")).to_be_visible()
    site.get_by_label("Your message").fill("Tell me a story")
    site.get_by_role("button", name="Send").click()
    expect(site.get_by_text("anthropic/claude-sonnet-5-5 of anthropic, 2 attempts")).to_be_visible()
    check_accessibility()
    shoot(site, "route-answer")
