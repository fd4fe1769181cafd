"""The frame of every page: theme, rail, menus, dialogs, by mouse and by keyboard."""

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import expect

from access.models import ApiKey
from tests.conftest import PASSWORD


def expect_theme(site, theme: str) -> None:
    expect(site.locator("html")).to_have_attribute("data-bs-theme", theme)


def test_the_theme_follows_the_system_until_somebody_chooses(mesh, ada, sign_in):
    site = sign_in("ada")
    site.goto("/keys/")
    for scheme in ("dark", "light"):
        site.emulate_media(color_scheme=scheme)
        expect_theme(site, scheme)

    site.get_by_role("button", name="Switch between light and dark").click()
    expect_theme(site, "dark")
    site.goto("/groups/")
    expect_theme(site, "dark")
    assert 'data-bs-theme="dark"' in site.request.get("/groups/").text()


def test_the_rail_is_a_drawer_on_a_phone(mesh, ada, sign_in):
    site = sign_in("ada")
    site.set_viewport_size({"width": 390, "height": 800})
    site.goto("/keys/")
    link = site.locator("#rail").get_by_role("link", name="Access groups")
    expect(link).not_to_be_visible()

    site.get_by_role("link", name="Open the menu").click()
    expect(link).to_be_visible()
    site.keyboard.press("Escape")
    expect(link).not_to_be_visible()

    site.get_by_role("link", name="Open the menu").click()
    link.click()
    expect(site.locator("h1")).to_have_text("Access groups")


@pytest.mark.parametrize(
    ("username", "shown", "hidden"),
    [
        ("ada", {"Playground", "Connections", "Users", "API keys", "Audit log"}, set()),
        ("alice", {"Playground", "API keys"}, {"Connections", "Users", "Access groups", "Audit log"}),
        ("oscar", {"Connections", "Audit log"}, {"Playground", "Users", "API keys"}),
    ],
)
def test_the_rail_shows_what_a_role_may_use(mesh, ada, alice, oscar, sign_in, username, shown, hidden):
    site = sign_in(username)

    links = {text.strip() for text in site.locator("#rail nav a").all_inner_texts()}

    assert shown <= links
    assert not hidden & links


def test_the_first_key_stroke_leads_past_the_rail(mesh, ada, sign_in):
    site = sign_in("ada")
    site.goto("/keys/")
    site.keyboard.press("Tab")
    expect(site.get_by_role("link", name="Skip to the content")).to_be_focused()
    site.keyboard.press("Enter")
    site.keyboard.press("Tab")
    expect(site.get_by_role("link", name="Create key").first).to_be_focused()


def test_the_account_menu_closes_and_signs_out(mesh, ada, sign_in):
    site = sign_in("ada")
    site.goto("/keys/")
    button = site.get_by_role("button", name="Sign out")
    opener = site.locator("details[data-menu] > summary")

    opener.click()
    expect(button).to_be_visible()
    site.keyboard.press("Escape")
    expect(button).not_to_be_visible()
    expect(opener).to_be_focused()
    opener.click()
    site.locator("h1").click()
    expect(button).not_to_be_visible()
    opener.click()
    button.click()
    site.wait_for_url(lambda url: "/accounts/login/" in url)


def test_a_deletion_waits_for_the_name(mesh, ada, analysts, sign_in):
    site = sign_in("ada")
    site.goto(f"/groups/{analysts.pk}/")
    opener = site.get_by_role("button", name="Delete group").first
    opener.click()
    dialog = site.get_by_role("dialog")
    confirm = dialog.get_by_role("button", name="Delete group")
    expect(confirm).to_be_disabled()

    site.keyboard.press("Escape")
    expect(opener).to_be_focused()

    opener.click()
    dialog.get_by_label("Type Analysts to confirm").fill("Analyst")
    expect(confirm).to_be_disabled()
    dialog.get_by_label("Type Analysts to confirm").fill("Analysts")
    confirm.click()
    expect(site.locator("#messages")).to_contain_text("Analysts was deleted.")
    assert not Group.objects.filter(name="Analysts").exists()


def test_a_key_is_made_by_keyboard_alone_and_copied(mesh, alice, sign_in):
    site = sign_in("alice")
    site.context.grant_permissions(["clipboard-read", "clipboard-write"])
    site.goto("/keys/new/")
    site.get_by_label("Name").focus()
    site.keyboard.type("billing")
    site.keyboard.press("Enter")
    key = site.locator("#key").inner_text()

    site.get_by_role("button", name="Copy key").press("Enter")

    expect(site.locator("#toasts")).to_contain_text("Copied.")
    assert site.evaluate("navigator.clipboard.readText()") == key
    assert ApiKey.objects.get().public_id == key[5:15]


def test_pages_work_without_javascript(mesh, ada, browser):
    context = browser.new_context(base_url=mesh.url, java_script_enabled=False)
    site = context.new_page()
    site.goto("/accounts/login/")
    site.locator("[name=login]").fill("ada")
    site.locator("[name=password]").fill(PASSWORD)
    site.get_by_role("button", name="Sign in").click()
    site.goto("/groups/new/")
    site.get_by_label("Name").fill("Finance")
    site.get_by_role("button", name="Add group").click()

    assert site.locator("h1").inner_text() == "Finance"
    context.close()


def test_a_hostile_name_runs_nowhere(mesh, ada, sign_in):
    name = "<img src=x onerror=\"document.title='run'\">"
    group = Group.objects.create(name=name)
    site = sign_in("ada")
    for address in ("/groups/", f"/groups/{group.pk}/", "/users/new/"):
        site.goto(address)
        assert name in site.locator("main").inner_text()
        assert site.title() != "run"
        assert site.locator("main img").count() == 0


def test_control_k_jumps_by_keyboard(mesh, connect, ada, sign_in, check_accessibility):
    connect("openai")
    site = sign_in("ada")
    site.goto("/keys/")
    site.keyboard.press("Control+k")
    expect(site.get_by_role("dialog", name="Search or jump to")).to_be_visible()

    site.keyboard.type("openai")
    expect(site.locator("#palette .hits a")).to_have_count(1)
    check_accessibility()
    site.keyboard.press("ArrowDown")
    site.keyboard.press("Enter")

    expect(site.get_by_role("heading", level=1)).to_contain_text("openai")
