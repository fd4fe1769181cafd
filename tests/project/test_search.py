"""Search or jump to: what one finds is what one may see."""

import pytest
from django.urls import reverse

pytestmark = pytest.mark.django_db


def found(client, query: str) -> list[tuple[str, str]]:
    return [(hit.sort, hit.label) for hit in client.get(reverse("search"), {"q": query}).context["hits"]]


def test_an_admin_finds_connections_users_and_pages(client, ada, alice, connect):
    connect("openai")
    client.force_login(ada)

    assert found(client, "openai") == [("Connection", "openai")]
    assert found(client, "ALICE") == [("User", "alice")]
    assert found(client, "audit") == [("Page", "Audit log")]


def test_an_analyst_finds_only_granted_models(client, alice, analysts, connect):
    connect("openai", group=analysts)
    connect("anthropic")
    client.force_login(alice)

    assert found(client, "o") == [
        ("Page", "Playground"),
        ("Page", "Models"),
        ("Page", "Usage & cost"),
        ("Page", "What would happen"),
        ("Try model", "openai/gpt-4o-mini"),
    ]
    assert found(client, "alice") == []


@pytest.mark.parametrize("query", ["%", "_", "<img src=x onerror=alert(1)>", "x" * 10_000, "' OR 1=1--"])
def test_an_odd_query_finds_nothing_and_is_text(client, ada, connect, query):
    connect("openai")
    client.force_login(ada)

    answer = client.get(reverse("search"), {"q": query})

    assert (answer.status_code, answer.context["hits"]) == (200, [])
    assert b"<img src=x" not in answer.content
