"""The pages about budgets: who sees and changes what, with and without scripts."""

from datetime import UTC, datetime, timedelta

import pytest

from access import keys
from access.models import AuditEvent
from gateway.budgets import acts
from gateway.models import Budget, BudgetOverride, BudgetWindow

pytestmark = pytest.mark.django_db
NEW = "/budgets/new/"
TYPED = {"scope": "all", "what": "money", "amount": "5.50", "window": "month", "at_end": "stop"}


@pytest.fixture
def admin(client, ada):
    client.force_login(ada)
    return client


def add(admin, **typed):
    return admin.post(NEW, {**TYPED, **typed})


def window(budget, counted="", **columns):
    starts = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    span = {"starts_at": starts, "ends_at": starts + timedelta(days=1)}
    return BudgetWindow.objects.create(**{"budget": budget, "counted": counted, **span, **columns})


def daily(ada, **columns):
    return acts.add_budget(ada, **{"scope": "all", "what": "money", "amount": 10**9, "window": "day", **columns})


def test_no_budget_yet_is_explained(admin):
    page = admin.get("/budgets/").content.decode()

    assert "There is no budget" in page
    assert "Add budget" in page


def test_an_admin_adds_changes_switches_and_removes(admin, alice):
    assert add(admin, scope="user", subject="alice").status_code == 302
    row = Budget.objects.get()
    assert (row.subject, row.amount, row.window, row.hours) == (str(alice.pk), 5_500_000_000, "month", 0)

    admin.post(f"/budgets/{row.pk}/change/", {"amount": "0.000000001", "at_end": "warn", "switch_to": "x"})
    admin.post(f"/budgets/{row.pk}/switch/", {"enabled": "no"})
    row.refresh_from_db()
    assert (row.amount, row.at_end, row.switch_to, row.enabled) == (1, "warn", "", False)
    page = admin.get("/budgets/").content.decode()
    assert "alice" in page and "Only tell" in page

    admin.post(f"/budgets/{row.pk}/remove/")
    assert not Budget.objects.exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"amount": "0"}, "between 1 and"),
        ({"amount": "-1"}, "between 1 and"),
        ({"amount": ""}, "required"),
        ({"amount": "NaN"}, "Enter a number"),
        ({"amount": "1e400"}, "no more than"),
        ({"amount": "0.0000000001"}, "no more than 9 decimal places"),
        ({"amount": "1.5", "what": "tokens"}, "Tokens are whole"),
        ({"amount": "9" * 5000}, "no more than"),
        ({"scope": "planet"}, "valid choice"),
        ({"what": "words"}, "valid choice"),
        ({"window": "year"}, "valid choice"),
        ({"window": "own"}, "between 1 and 8,784 hours"),
        ({"window": "own", "hours": "5"}, "Say when one of the windows begins"),
        ({"window": "own", "hours": "5", "anchor": "nonsense"}, "valid date/time"),
        ({"at_end": "switch"}, "no such model or route"),
        ({"at_end": "switch", "switch_to": "no/such"}, "no such model or route"),
        ({"scope": "user"}, "required"),
        ({"scope": "user", "subject": "nobody"}, "no such user"),
        ({"scope": "user", "subject": "a\0b"}, "Null characters"),
    ],
)
def test_a_senseless_budget_is_refused_with_a_sentence(admin, typed, said):
    answer = add(admin, **typed)

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Budget.objects.exists()


def test_a_window_of_ones_own(admin):
    add(admin, window="own", hours="36", anchor="2026-11-20T06:00")

    row = Budget.objects.get()
    assert (row.hours, row.anchor) == (36, datetime(2026, 11, 20, 6, tzinfo=UTC))


def test_the_subjects_follow_the_scope(admin, alice):
    part = admin.get(NEW, {"scope": "user"}, headers={"HX-Request": "true"}).content.decode()

    assert 'value="alice"' in part
    assert "<html" not in part


def test_a_budget_says_what_is_spent_reserved_and_left(admin, ada):
    row = daily(ada)
    window(row, spent=300_000_000, reserved=200_000_000, unknown=3)

    for path in ("/budgets/", f"/budgets/{row.pk}/"):
        page = admin.get(path).content.decode()
        assert "$0.30 of $1.00" in page
        assert "$0.50 left" in page and "$0.20 reserved" in page and "3 calls of unknown cost" in page
        assert "30 % spent, 20 % reserved" in page


def test_who_has_a_sum_of_their_own_is_listed(admin, ada, alice, bob):
    row = daily(ada, scope="each_user")
    for user, spent in ((alice, 10**8), (bob, 9 * 10**8)):
        window(row, str(user.pk), spent=spent)

    page = admin.get(f"/budgets/{row.pk}/").content.decode()

    assert "each has its own" in page
    assert page.index("bob") < page.index("alice")


def test_an_override_is_made_shown_and_revoked(admin, ada):
    row = daily(ada)
    until = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%dT%H:%M}"
    path = f"/budgets/{row.pk}/override/"
    assert admin.post(path, {"extra": "2", "until": until}).status_code == 422
    assert admin.post(path, {"extra": "2", "until": "2020-01-01T00:00", "reason": "a fair"}).status_code == 422
    assert not BudgetOverride.objects.exists()

    admin.post(path, {"extra": "2", "until": until, "reason": "a fair"})

    made = BudgetOverride.objects.get()
    assert (made.extra, made.made_by) == (2 * 10**9, "ada")
    page = admin.get(f"/budgets/{row.pk}/").content.decode()
    assert "$2.00 more" in page and "a fair" in page and "$0.00 of $3.00" in page
    assert AuditEvent.objects.get(action="budget.overridden").after["reason"] == "a fair"
    admin.post(f"/budgets/{row.pk}/overrides/{made.pk}/revoke/")
    assert "a fair" not in admin.get(f"/budgets/{row.pk}/").content.decode()


def test_an_override_without_an_amount_lifts_the_end(admin, ada):
    row = daily(ada)
    until = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%dT%H:%M}"

    admin.post(f"/budgets/{row.pk}/override/", {"until": until, "reason": "a fair"})

    assert "lifted for now" in admin.get(f"/budgets/{row.pk}/").content.decode()


def test_who_may_only_look_changes_nothing(client, oscar, ada):
    row = daily(ada)
    client.force_login(oscar)

    page = client.get(f"/budgets/{row.pk}/").content.decode()
    assert "$1.00 per day" in page
    assert "Save" not in page and "Override" not in page
    for path in ("change", "switch", "remove", "override", "overrides/1/revoke"):
        assert client.post(f"/budgets/{row.pk}/{path}/", {"amount": "9"}).status_code == 403
    assert client.post(NEW, TYPED).status_code == 403


def test_one_sees_what_ones_calls_are_paid_from(client, ada, alice, bob, analysts, connect):
    connect("openai", group=analysts)
    key, _ = keys.issue(alice, "billing", scopes=["generate"])
    for scope, subject in [("each_user", ""), ("user", bob.pk), ("key", key.public_id)]:
        daily(ada, scope=scope, subject=str(subject))
    window(Budget.objects.get(scope="each_user"), str(alice.pk), spent=250_000_000)
    client.force_login(alice)

    def whose(path):
        return [one.whose for one in client.get(path).context["budgets"]]

    assert whose("/limits/mine/") == whose("/usage/") == ["you"]
    assert sorted(whose(f"/limits/mine/?key={key.public_id}")) == ["this key", "you"]
    assert "$0.25 of $1.00" in client.get("/usage/").content.decode()


def test_many_budgets_cost_no_more_queries_than_few(admin, ada, django_assert_max_num_queries):
    for number in range(40):
        Budget.objects.create(scope="user", subject=str(ada.pk + number), what="tokens", amount=1, window="day")

    with django_assert_max_num_queries(16):
        admin.get("/budgets/")
