"""The first hour with LLM Mesh in a real browser, from the first sign-in to an application's call."""

import secrets
from typing import Any

import openai
import pytest
from playwright.sync_api import Page, expect

from access.models import AuditEvent
from connections.models import Connection
from connections.providers import registry
from tests.canary import database_dump, encodings, leaks
from tests.mesh import Mesh
from tests.upstream.faults import Fault

STAGES = ("DNS and TLS", "Sign-in", "Model list", "Short call")


def pick_provider(site: Page, label: str) -> None:
    site.goto("/connections/")
    site.get_by_role("link", name="Add connection").first.click()
    site.get_by_role("navigation", name="Providers").get_by_role("link", name=label).first.click()


def test_from_the_first_sign_in_to_an_applications_call(mesh: Mesh, upstream, ada, alice, analysts, sign_in):
    site = sign_in("ada")

    # an admin connects a provider, and tests it before anything is saved
    pick_provider(site, "OpenAI-compatible endpoint")
    site.get_by_label("Connection name").fill("Team models")
    site.get_by_label("Base URL").fill(upstream.url("compatible"))
    site.locator("input[type=password]").first.fill(upstream.key)
    site.get_by_label("Model for one short call").fill("local-chat")
    site.get_by_role("button", name="Test").click()
    for stage in STAGES:
        expect(site.locator(".stages li", has_text=stage)).to_have_attribute("data-stage", "ok")
    assert not Connection.objects.exists()

    # picks a model, grants it to a group, saves
    site.get_by_role("button", name="Continue").click()
    site.get_by_role("checkbox", name="local-chat").check()
    site.get_by_role("button", name="Continue").click()
    site.get_by_label("Analysts").check()
    site.get_by_role("button", name="Save connection").click()
    expect(site.get_by_role("heading", level=1)).to_contain_text("Team models")
    connection = Connection.objects.get()
    assert connection.credential()["api_key"] == upstream.key
    assert list(connection.grants.values_list("group__name", flat=True)) == ["Analysts"]
    assert AuditEvent.objects.filter(action="connection.created", actor=ada).exists()

    # an analyst asks it, watches the answer stream in, and stops it
    mesh.refresh()
    site = sign_in("alice")
    site.goto("/playground/")
    upstream.always(Fault.answer(chunks=200, delay=0.1))
    site.get_by_label("Your message").fill("Tell me a story")
    site.get_by_label("Your message").press("Control+Enter")
    expect(site.locator(".streaming")).to_contain_text("word3")
    site.get_by_role("button", name="Stop").click()
    expect(site.locator(".run .badge")).to_have_text("stopped")
    expect(site.locator(".answer")).to_contain_text("word3")
    assert upstream.requests[-1].disconnected.wait(20)

    # makes a key, which is shown once, and an application calls with it
    site.goto("/keys/")
    site.get_by_role("link", name="Create key").first.click()
    site.get_by_label("Name").fill("My application")
    site.get_by_role("button", name="Create key").click()
    key = site.locator("#key").inner_text().strip()
    site.goto("/keys/")
    assert key not in site.content()
    mesh.refresh()
    upstream.always(Fault.answer(text="Hello from upstream"))
    application = openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=key)
    answer = application.chat.completions.create(
        model="team-models/local-chat", messages=[{"role": "user", "content": "Hello"}]
    )
    assert answer.choices[0].message.content == "Hello from upstream"


HEADER = "x-canary"


def held(credential: Any) -> str:
    """The secret itself, also of one that is kept by the name of its header."""
    return credential[HEADER] if isinstance(credential, dict) else credential


@pytest.mark.parametrize("kind", ["openai", "openai_compatible", "anthropic", "llamacpp"])
def test_no_secret_that_was_typed_stands_in_the_database(mesh: Mesh, upstream, kind: str, ada, sign_in):
    """A canary in every secret field: of a connection, of its edit, and of a draft that nobody finishes.

    The form of each provider is made by the same code, so some stand for all.
    """
    site = sign_in("ada")
    names = registry.providers()[kind].Settings.secret_names()
    canaries: list[str] = []

    def fill_secrets() -> None:
        for name in names:
            canaries.append(f"canary-{secrets.token_urlsafe(24)}")
            typed = f"{HEADER}: {canaries[-1]}" if "headers" in name else canaries[-1]
            site.locator(f"form [name=settings-{name}]").fill(typed)

    def fill(connection_name: str) -> None:
        site.get_by_label("Connection name").fill(connection_name)
        site.get_by_text("Advanced", exact=True).click()
        site.locator("form [name=settings-base_url]").fill(upstream.url("openai"))
        fill_secrets()

    site.goto(f"/connections/new/{kind}/")
    fill("Canary")
    site.get_by_role("button", name="Save as paused").click()
    expect(site.get_by_role("heading", level=1)).to_contain_text("Canary")
    connection = Connection.objects.get()
    assert [held(connection.credential()[name]) for name in names] == canaries

    site.goto(f"/connections/{connection.pk}/edit/")
    site.get_by_text("Advanced", exact=True).click()
    fill_secrets()
    site.get_by_role("button", name="Save").click()
    expect(site.get_by_role("heading", level=1)).to_contain_text("Canary")
    connection.refresh_from_db()
    assert [held(connection.credential()[name]) for name in names] == canaries[len(names) :]

    site.goto(f"/connections/new/{kind}/")
    fill("Draft")
    site.get_by_role("button", name="Continue").click()
    site.wait_for_url("**/models/**")
    site.go_back()
    expect(site.get_by_label("Connection name")).to_have_value("Draft")

    assert leaks(site.content().encode(), canaries) == []
    assert leaks(database_dump(), canaries) == []


def test_the_canary_scanner_finds_what_is_there():
    canary = f"canary-{secrets.token_urlsafe(24)}"
    forms = {name: b"before " + form + b" after" for name, form in encodings(canary).items()}

    assert [name for name, dump in forms.items() if leaks(dump, [canary])] == list(forms)
    assert leaks(b"a dump without it", [canary]) == []
