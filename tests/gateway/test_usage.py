"""The ledger's page and API: who sees what, in which pieces."""

import csv
import io

import pytest
from django.urls import reverse

from connections.providers.calls import Mode
from gateway import views
from gateway.ledger.record import Record
from gateway.metering import commit
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


def test_pictures_and_search_units_are_shown(client, alice, calls):
    calls(alice, images=3, search_units=2)
    client.force_login(alice)

    response = client.get(reverse("usage"))

    totals = response.context["totals"]
    assert (totals["images"], totals["searches"]) == (3, 2)
    assert "3 pictures" in response.text
    assert "2 search units" in response.text


def table(response):
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


def test_the_calls_can_be_taken_away_as_csv(client, alice, bob, calls):
    calls(alice, 2, images=3, adjusted=["n split into 2 requests", "top_k dropped"])
    calls(bob)
    client.force_login(alice)

    response = client.get(reverse("usage-export"), {"period": "7d"})
    rows = table(response)

    assert response["Content-Disposition"].startswith('attachment; filename="usage-7d-')
    assert sorted(row["request_id"] for row in rows) == ["req_alice_0", "req_alice_1"]
    assert (rows[0]["images"], rows[0]["adjusted"]) == ("3", "n split into 2 requests; top_k dropped")


@pytest.mark.parametrize("text", ["=HYPERLINK()", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_one_that_a_spreadsheet_runs(client, alice, calls, text):
    calls(alice, upstream_model=text)
    client.force_login(alice)

    [row] = table(client.get(reverse("usage-export")))

    assert row["upstream_model"] == f"'{text}"


def test_the_export_has_the_filters_of_the_page(client, alice, calls):
    calls(alice, 1, state="error")
    client.force_login(alice)

    assert table(client.get(reverse("usage-export"), {"state": "ok"})) == []
    assert client.get(reverse("usage-export"), {"period": "1y"}).status_code == 400


def totals(client, key, query=""):
    return client.get(f"/api/usage/totals/{query}", HTTP_AUTHORIZATION=f"Bearer {key}")


def test_the_api_adds_up_what_the_page_does(client, alice, bob, oscar, calls, key_for):
    calls(alice, 2, cost=5, prompt_tokens=3)
    calls(bob, 1, state="error")
    figures = {"calls": 2, "failed": 0, "prompt_tokens": 6, "completion_tokens": None, "images": 0, "search_units": 0}
    figures |= {"cost": 10, "unpriced": 0}

    own = totals(client, key_for(alice), "?by=principal").json()
    all_of_them = totals(client, key_for(oscar), "?by=principal").json()

    assert own == {"totals": figures, "groups": [{"name": "alice", **figures}]}
    assert [group["name"] for group in all_of_them["groups"]] == ["alice", "bob"]
    assert (all_of_them["totals"]["calls"], all_of_them["totals"]["failed"]) == (3, 1)


def test_the_api_adds_up_the_time_asked_for(client, alice, calls, key_for):
    calls(alice)
    key = key_for(alice)

    assert totals(client, key, "?since=2999-01-01T00:00:00Z").json()["totals"]["calls"] == 0
    assert totals(client, key, "?since=2020-01-01&until=2999-01-01T00:00:00Z").json()["totals"]["calls"] == 1


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("by=password", "by"),
        ("since=x", "since"),
        ("until=", "until"),
        ("days=3", "days"),
        ("since=0000-00-00", "since"),
    ],
)
def test_a_bad_question_about_totals_is_refused(client, alice, key_for, query, param):
    refused = totals(client, key_for(alice), f"?{query}")

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
