"""`/api/budgets/`: everything the pages do, with the same rights and the same sentences."""

from datetime import UTC, datetime, timedelta

import pytest

from access.models import AuditEvent
from gateway.budgets import acts
from gateway.models import Budget, BudgetOverride, BudgetWindow
from tests.access.conftest import calling  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db
BUDGETS = "/api/budgets/"
MONTHLY = {"scope": "all", "what": "money", "amount": 5_000_000_000, "window": "month"}


@pytest.fixture
def admin(ada, calling):  # noqa: F811
    return calling(ada)


def later(**delta):
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def post(client, path, body):
    return client.post(path, body, format="json")


def test_an_admin_adds_looks_changes_and_removes(admin, alice):
    made = post(admin, BUDGETS, {**MONTHLY, "scope": "user", "subject": str(alice.pk)})
    assert made.status_code == 201, made.json()
    told = made.json()
    assert (told["name"], told["spent"], told["left"]) == ("One user: alice", 0, 5_000_000_000)
    assert told["ends_at"] > datetime.now(UTC).isoformat()

    address = f"{BUDGETS}{told['id']}/"
    changed = admin.patch(address, {"amount": 7, "at_end": "warn", "enabled": False}, format="json").json()
    assert (changed["amount"], changed["left"], changed["at_end"], changed["enabled"]) == (7, 7, "warn", False)
    assert [row["id"] for row in admin.get(BUDGETS, {"scope": "user"}).json()["results"]] == [told["id"]]

    assert admin.delete(address).status_code == 204
    assert not Budget.objects.exists()
    acted = AuditEvent.objects.filter(action__startswith="budget.").order_by("pk").values_list("action", flat=True)
    assert list(acted) == ["budget.added", "budget.changed", "budget.removed"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"amount": -1}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": ""}, "amount"),
        ({"amount": None}, "amount"),
        ({"amount": 10**30}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"scope": "planet"}, "scope"),
        ({"scope": "user"}, "subject"),
        ({"scope": "user", "subject": "999999"}, "subject"),
        ({"subject": "1"}, "subject"),
        ({"what": "love"}, "what"),
        ({"window": "year"}, "window"),
        ({"window": "own"}, "hours"),
        ({"window": "own", "hours": 5}, "anchor"),
        ({"window": "own", "hours": -5, "anchor": "2026-01-01T00:00:00Z"}, "hours"),
        ({"window": "own", "hours": 10**20, "anchor": "2026-01-01T00:00:00Z"}, "hours"),
        ({"window": "own", "hours": 5, "anchor": "9999-12-31T23:59:59Z"}, "anchor"),
        ({"window": "own", "hours": 5, "anchor": "2026-03-29 25:00"}, "anchor"),
        ({"hours": 5}, "hours"),
        ({"at_end": "explode"}, "at_end"),
        ({"at_end": "switch"}, "switch_to"),
        ({"at_end": "switch", "switch_to": "no/such"}, "switch_to"),
        ({"switch_to": "no/such"}, "switch_to"),
        ({"spent": 0}, "spent"),
        ({"enabled": False}, "enabled"),
    ],
)
def test_a_senseless_budget_is_refused_by_field(admin, given, param):
    refused = post(admin, BUDGETS, {**MONTHLY, **given})

    assert refused.status_code == 400, refused.json()
    assert refused.json()["error"]["param"] == param
    assert not Budget.objects.exists()


def test_a_window_of_ones_own_without_a_zone_is_utc(admin):
    """An hour that daylight saving skips elsewhere is an hour like any other."""
    made = post(admin, BUDGETS, {**MONTHLY, "window": "own", "hours": 36, "anchor": "2026-03-29T02:30:00"})

    assert made.json()["anchor"] == "2026-03-29T02:30:00Z"


def test_the_same_budget_again_points_to_the_first(admin):
    post(admin, BUDGETS, MONTHLY)

    refused = post(admin, BUDGETS, {**MONTHLY, "amount": 1})

    assert "There is such a budget already of $5.00 per month" in refused.json()["error"]["message"]


def test_an_override_needs_a_reason_and_can_be_revoked(admin, ada):
    budget = acts.add_budget(ada, **MONTHLY)
    address = f"{BUDGETS}{budget.pk}/override/"
    for given, param in [
        ({"until": later(hours=1)}, "reason"),
        ({"until": later(hours=1), "reason": "  "}, "reason"),
        ({"until": later(hours=-1), "reason": "a fair"}, "until"),
        ({"until": "tomorrow", "reason": "a fair"}, "until"),
        ({"until": later(hours=1), "reason": "a fair", "extra": 0}, "extra"),
        ({"reason": "a fair"}, "until"),
    ]:
        refused = post(admin, address, given)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), given

    made = post(admin, address, {"until": later(hours=1), "reason": "a fair", "extra": 10**9})
    assert made.status_code == 201, made.json()
    told = admin.get(f"{BUDGETS}{budget.pk}/").json()
    assert (told["left"], [one["reason"] for one in told["overrides"]]) == (6 * 10**9, ["a fair"])
    event = AuditEvent.objects.get(action="budget.overridden")
    assert (event.after["reason"], event.after["extra"]) == ("a fair", 10**9)

    gone = f"{BUDGETS}{budget.pk}/overrides/{made.json()['id']}/"
    assert admin.delete(gone).status_code == 204
    assert admin.delete(gone).status_code == 204
    assert AuditEvent.objects.filter(action="budget.override_revoked").count() == 1
    assert admin.get(f"{BUDGETS}{budget.pk}/").json()["left"] == 5 * 10**9


def test_an_override_of_another_budget_is_not_revoked(admin, ada):
    one, other = (acts.add_budget(ada, **{**MONTHLY, "window": window}) for window in ("day", "week"))
    row = BudgetOverride.objects.create(budget=one, until=later(hours=1), reason="a fair")

    assert admin.delete(f"{BUDGETS}{other.pk}/overrides/{row.pk}/").status_code == 404


def test_windows_are_listed_newest_first(admin, ada):
    budget = acts.add_budget(ada, **MONTHLY)
    for month in (9, 10):
        starts = datetime(2026, month, 1, tzinfo=UTC)
        BudgetWindow.objects.create(budget=budget, starts_at=starts, ends_at=starts + timedelta(days=30), spent=month)

    rows = admin.get(f"{BUDGETS}{budget.pk}/windows/").json()["results"]

    assert [row["spent"] for row in rows] == [10, 9]


def test_one_sees_what_ones_own_calls_count_against(ada, alice, bob, analysts, connect, calling):  # noqa: F811
    connect("openai", group=analysts)
    for scope, subject in [("each_user", ""), ("user", alice.pk), ("user", bob.pk), ("model", "openai/gpt-4o-mini")]:
        acts.add_budget(ada, scope=scope, subject=str(subject), what="tokens", amount=100, window="day")
    mine = Budget.objects.get(scope="each_user")
    starts = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for user, spent in ((alice, 30), (bob, 99)):
        span = {"starts_at": starts, "ends_at": starts + timedelta(days=1)}
        BudgetWindow.objects.create(budget=mine, counted=str(user.pk), spent=spent, **span)

    rows = calling(alice).get(f"{BUDGETS}mine/").json()

    assert sorted((row["whose"], row["spent"], row["left"]) for row in rows) == [
        ("model openai/gpt-4o-mini", 0, 100), ("you", 0, 100), ("you", 30, 70),
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["post", "patch", "delete"])
def test_who_may_only_look_changes_nothing(calling, oscar, ada, method):  # noqa: F811
    budget = acts.add_budget(ada, **MONTHLY)
    client = calling(oscar)

    assert client.get(BUDGETS).json()["results"][0]["amount"] == 5 * 10**9
    address = BUDGETS if method == "post" else f"{BUDGETS}{budget.pk}/"
    assert getattr(client, method)(address, {}, format="json").status_code == 403
    assert post(client, f"{BUDGETS}{budget.pk}/override/", {}).status_code == 403


def test_what_goes_takes_its_budgets_along(admin, ada, analysts):
    acts.add_budget(ada, **{**MONTHLY, "scope": "group", "subject": str(analysts.pk)})

    assert admin.delete(f"/api/groups/{analysts.pk}/").status_code == 204

    assert not Budget.objects.exists()
