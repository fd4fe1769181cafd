"""The gallery of providers: shelves, the filter, and those that are no more."""

import pytest
from django.urls import reverse

from connections.gallery import gallery
from connections.providers import registry
from connections.providers.calls import Mode
from connections.providers.compatible import OpenAICompatible
from connections.providers.contract import GROUPS, Retired


class Ended(OpenAICompatible):
    """Switched off; not registered, as it has no kind of its own."""

    label = "Gone for good"
    retired = Retired("2024-08-01", "Its successor")


@pytest.fixture
def with_retired(monkeypatch):
    everything = {**registry.providers(), "ended": Ended}
    monkeypatch.setattr(registry, "providers", lambda: everything)


def test_every_provider_stands_on_one_shelf():
    found = gallery()
    placed = [kind for shelf in found.shelves for kind in shelf.kinds] + list(found.retired)

    assert sorted(kind.kind for kind in placed) == sorted(registry.providers())
    assert [shelf.title for shelf in found.shelves] == [
        title for title in GROUPS.values() if title in {s.title for s in found.shelves}
    ]
    assert found.count == len(registry.providers())


def test_what_is_switched_off_stands_apart(with_retired):
    found = gallery()

    assert Ended in found.retired
    assert all(Ended not in shelf.kinds for shelf in found.shelves)


@pytest.mark.parametrize(
    ("query", "kind"), [("anthr", "anthropic"), ("CLAUDE", "anthropic"), ("openai_compat", "openai_compatible")]
)
def test_a_provider_is_found_by_what_is_known_of_it(query, kind):
    found = gallery(query)

    assert kind in {one.kind for shelf in found.shelves for one in shelf.kinds}
    assert found.count < len(registry.providers())


def test_providers_are_found_by_the_kind_of_their_models():
    found = {kind.kind for shelf in gallery("rerank").shelves for kind in shelf.kinds}

    assert found >= {kind for kind, one in registry.providers().items() if Mode.RERANK in one.modes and not one.retired}


def test_the_page_folds_away_what_is_switched_off(client, ada, with_retired):
    client.force_login(ada)

    page = client.get(reverse("connection-new")).text

    assert "Since 2024-08-01. Now: Its successor" in page
    assert page.index("<details") < page.index("Gone for good")
    assert "data-fold open" not in page


def test_the_filter_works_without_javascript(client, ada, with_retired):
    client.force_login(ada)

    page = client.get(reverse("connection-new"), {"q": "gone for"}).text

    assert "data-fold open" in page
    assert "Gone for good" in page
    assert reverse("connection-new-credentials", args=["anthropic"]) not in page


@pytest.mark.parametrize("query", ["no such thing", "<script>", "x" * 1000])
def test_a_filter_that_finds_nothing_says_what_to_do(client, ada, query):
    client.force_login(ada)

    response = client.get(reverse("connection-new"), {"q": query})

    assert response.status_code == 200
    assert "No provider matches this filter" in response.text
    assert 'class="tile"' not in response.text
