"""The card of an engine: it follows the engine while something is under way, and keeps to the page's rules."""

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from connections import services
from connections.account import settle
from connections.models import Engine, EngineState
from connections.providers import registry


@pytest.fixture
def connection(ada):
    account = settle(registry.providers()["transformers"], {"folder": "tiny-llama"}, {})
    made = services.create_connection(ada, account, {"name": "Tiny"})
    Engine.objects.create(connection=made, state=EngineState.LOADING, percent=40, seen_at=timezone.now())
    return made


def test_the_card_follows_the_engine_until_it_runs(mesh, connection, sign_in, check_accessibility):
    site = sign_in("ada")
    site.goto(f"/connections/{connection.pk}/")
    card = site.locator("#engine")
    expect(card).to_contain_text("Loading 40 %")
    check_accessibility()

    Engine.objects.update(percent=70)
    expect(card).to_contain_text("Loading 70 %")
    Engine.objects.update(state=EngineState.RUNNING, percent=100, described=[{"id": "tiny-llama"}], log="a line")
    expect(card).to_contain_text("Running")
    expect(card).to_contain_text("tiny-llama")
    card.get_by_text("Last lines of its log").click()
    expect(card.get_by_text("a line")).to_be_visible()
    check_accessibility()

    card.get_by_role("button", name="Stop").click()
    expect(site.locator("#engine")).to_contain_text("Running, stops")
    Engine.objects.update(state=EngineState.STOPPED)
    expect(site.locator("#engine")).to_contain_text("Stopped")
    expect(site.locator("#engine").get_by_role("button", name="Start")).to_be_visible()
