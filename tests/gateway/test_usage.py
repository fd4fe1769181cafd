"""The ledger's page and API: who sees what, in which pieces."""

import pytest
from django.urls import reverse

from connections.providers.calls import Mode
from gateway import views
from gateway.metering import Record, commit
from gateway.models import Usage

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls():
    """`calls(user, 3, state="error")` writes so many rows."""

    def make(user, count: int = 1, **columns) -> list[Record]:
        rows = [Record.of(user.principal, Mode.CHAT, "v1", f"req_{user}_{index}") for index in range(count)]
        for row in rows:
            row.model = "openai/gpt-4o-mini"
            for name, value in columns.items():
                setattr(row, name, value)
        commit(rows)
        return rows

    return make


def shown(client, **query) -> list[str]:
    return [row.request_id for row in client.get(reverse("usage"), query).context["rows"]]


def test_an_analyst_sees_only_their_own_calls(client, alice, bob, calls):
    calls(alice)
    calls(bob)
    client.force_login(alice)

    assert shown(client) == ["req_alice_0"]


def test_who_may_see_usage_sees_everybodys(client, oscar, alice, bob, calls):
    calls(alice)
    calls(bob)
    client.force_login(oscar)

    assert sorted(shown(client)) == ["req_alice_0", "req_bob_0"]


def test_pages_go_on_by_key_and_leave_nothing_out(client, alice, calls, monkeypatch):
    monkeypatch.setattr(views, "ROWS", 2)
    calls(alice, 5)
    client.force_login(alice)
    seen, before = [], ""
    for _ in range(4):
        context = client.get(reverse("usage"), {"before": before}).context
        seen += [row.request_id for row in context["rows"]]
        before = context["older"]
        if not before:
            break

    assert sorted(seen) == [f"req_alice_{index}" for index in range(5)]


def test_an_unknown_price_is_not_shown_as_nothing(client, alice, calls):
    calls(alice, 2, cost=None)
    client.force_login(alice)

    page = client.get(reverse("usage"))

    assert page.context["totals"]["spend"] is None
    assert "2 calls of unknown price" in page.content.decode()


def test_outcomes_are_filtered(client, alice, bob, calls):
    calls(alice, state=Usage.State.ERROR, status=503)
    client.force_login(alice)

    assert shown(client, state="error") == ["req_alice_0"]
    assert shown(client, state="ok") == []


@pytest.mark.parametrize(
    "query", [{"period": "1000y"}, {"by": "password"}, {"state": "x"}, {"before": "x"}, {"before": "2026-01-01~'--"}]
)
def test_a_bad_query_is_refused(client, alice, query):
    client.force_login(alice)

    assert client.get(reverse("usage"), query).status_code == 400


def test_a_models_name_is_text(client, alice, calls):
    calls(alice, model="<img src=x onerror=alert(1)>")
    client.force_login(alice)

    assert b"<img src=x" not in client.get(reverse("usage")).content


def test_the_api_tells_the_same(client, alice, bob, calls, key_for):
    calls(alice, cost=12)
    calls(bob)
    auth = {"HTTP_AUTHORIZATION": f"Bearer {key_for(alice)}"}

    found = client.get("/api/usage/", **auth).json()["results"]
    refused = client.get("/api/usage/?state=x", **auth)

    assert [(row["request_id"], row["cost"]) for row in found] == [("req_alice_0", 12)]
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "state")
