"""The pages about limits: who sees and changes what, with and without scripts."""

import pytest
from django.urls import reverse

from access import keys
from gateway.limits import acts
from gateway.models import Limit

pytestmark = pytest.mark.django_db
NEW = "/limits/new/"


@pytest.fixture
def admin(client, ada):
    client.force_login(ada)
    return client


def add(admin, **typed):
    return admin.post(NEW, {"scope": "all", "what": "requests", "amount": "60", "seconds": "60", **typed})


def test_no_limit_yet_is_explained(admin):
    page = admin.get("/limits/").content.decode()

    assert "There is no limit" in page
    assert "Add limit" in page


def test_an_admin_adds_changes_switches_and_removes(admin, alice):
    assert add(admin, scope="user", subject="alice")["Location"] == "/limits/"
    row = Limit.objects.get()
    assert (row.subject, row.text) == (str(alice.pk), "60 requests per minute")

    admin.post(f"/limits/{row.pk}/", {"amount": "30"})
    admin.post(f"/limits/{row.pk}/switch/", {"enabled": "no"})
    row.refresh_from_db()
    assert (row.amount, row.enabled) == (30, False)
    admin.post(f"/limits/{row.pk}/switch/", {"enabled": "yes"})
    row.refresh_from_db()
    assert row.enabled
    page = admin.get("/limits/").content.decode()
    assert "alice" in page and "30 requests per minute" in page

    admin.post(f"/limits/{row.pk}/remove/")
    assert not Limit.objects.exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"amount": "0"}, "between 1 and"),
        ({"amount": "-1"}, "between 1 and"),
        ({"amount": "10000000000000"}, "between 1 and"),
        ({"amount": ""}, "required"),
        ({"amount": "1.5"}, "whole number"),
        ({"amount": "9" * 5000}, "whole number"),
        ({"scope": "planet"}, "valid choice"),
        ({"what": "words"}, "valid choice"),
        ({"seconds": "61"}, "valid choice"),
        ({"scope": "user"}, "required"),
        ({"scope": "user", "subject": "nobody"}, "no such user"),
        ({"scope": "user", "subject": "a\0b"}, "Null characters"),
        ({"scope": "key", "subject": "0000000000"}, "no such API key"),
    ],
)
def test_a_senseless_limit_is_refused_with_a_sentence(admin, typed, said):
    answer = add(admin, **typed)

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Limit.objects.exists()


def test_the_same_limit_again_points_to_the_first(admin):
    add(admin)

    answer = add(admin, amount="90")

    assert answer.status_code == 422
    assert "There is such a limit already of 60 requests per minute" in answer.content.decode()


def test_parallel_calls_need_no_period(admin):
    admin.post(NEW, {"scope": "all", "what": "parallel", "amount": "3"})

    assert Limit.objects.get().text == "3 calls at once"


def test_the_subjects_follow_the_scope(admin, alice, analysts, connect):
    connect("openai")
    key, _ = keys.issue(alice, "billing", scopes=["generate"])
    offered = {"user": "alice", "group": "Analysts", "key": key.public_id, "model": "openai/gpt-4o-mini"}
    for scope, subject in {**offered, "connection": "openai"}.items():
        part = admin.get(NEW, {"scope": scope}, headers={"HX-Request": "true"}).content.decode()
        assert f'value="{subject}"' in part, scope
        assert "<html" not in part
        answer = admin.post(NEW, {"scope": scope, "amount": "7", "choose": "1"})
        whole = answer.content.decode()
        assert answer.status_code == 200 and "This field is required" not in whole
        assert f'value="{subject}"' in whole and 'value="7"' in whole, scope
        assert add(admin, scope=scope, subject=subject).status_code == 302, scope
    assert "subject" not in admin.get(NEW, {"scope": "all"}).context["form"].fields
    assert Limit.objects.count() == 5


def test_too_many_for_a_list_are_typed(admin, alice, monkeypatch):
    monkeypatch.setattr("gateway.subjects.MOST", 0)

    assert 'list="subjects"' in admin.get(NEW, {"scope": "user"}).content.decode()
    assert add(admin, scope="user", subject="alice").status_code == 302


def test_limits_are_found_by_whom_they_are_about(admin, ada, alice, bob, connect):
    connect("openai")
    key, _ = keys.issue(alice, "billing", scopes=["generate"])
    for scope, subject in [
        ("user", alice.pk),
        ("user", bob.pk),
        ("key", key.public_id),
        ("model", "openai/gpt-4o-mini"),
    ]:
        acts.add_limit(ada, scope=scope, subject=str(subject), what="requests", amount=1)

    def found(**query):
        return sorted(one.subject.name for one in admin.get("/limits/", query).context["listed"])

    assert found(q="ali") == ["alice", f"billing (mesh_{key.public_id}…) of alice"]
    assert found(q="bill") == [f"billing (mesh_{key.public_id}…) of alice"]
    assert found(q="gpt") == ["openai/gpt-4o-mini"]
    assert found(scope="user") == ["alice", "bob"]
    assert found(q="zzz") == []


def test_what_has_gone_otherwise_is_said_to_limit_nothing(admin):
    Limit.objects.create(scope="user", subject="999999", what="requests", amount=1)

    assert "gone: it limits nothing" in admin.get("/limits/").content.decode()


def test_many_limits_cost_no_more_queries_than_few(admin, ada, django_assert_max_num_queries):
    for amount in range(40):
        Limit.objects.create(scope="user", subject=str(ada.pk + amount), what="requests", amount=1)

    with django_assert_max_num_queries(14):
        admin.get("/limits/")


def test_who_may_only_look_changes_nothing(client, oscar, ada):
    row = acts.add_limit(ada, scope="all", what="requests", amount=1)
    client.force_login(oscar)

    assert "1 request per minute" in client.get("/limits/").content.decode()
    assert "Add limit" not in client.get("/limits/").content.decode()
    for path in (NEW, f"/limits/{row.pk}/", f"/limits/{row.pk}/switch/", f"/limits/{row.pk}/remove/"):
        assert client.post(path, {"amount": "9"}).status_code == 403
    row.refresh_from_db()
    assert row.amount == 1 and row.enabled


# --- one's own ------------------------------------------------------------------------------------------------


@pytest.fixture
def several(ada, alice, bob, analysts, connect):
    """Limits that meet alice, and others."""
    connection = connect("openai", group=analysts)
    connect("anthropic", group=None)
    key, _ = keys.issue(alice, "billing", scopes=["generate"])
    about = [
        ("all", ""), ("user", alice.pk), ("user", bob.pk), ("each_user", ""), ("each_key", ""), ("key", key.public_id),
        ("group", analysts.pk), ("model", "openai/gpt-4o-mini"), ("model", "anthropic/claude-sonnet-5-5"),
        ("connection", connection.pk),
    ]  # fmt: skip
    for amount, (scope, subject) in enumerate(about, 1):
        acts.add_limit(ada, scope=scope, subject=str(subject), what="requests", amount=amount)
    off = acts.add_limit(ada, scope="all", what="tokens", amount=99)
    acts.change_limit(ada, off, enabled=False)
    return key


def whose(client, **query):
    return {one.limit.amount: one.whose for one in client.get(reverse("my-limits"), query).context["limits"]}


def test_one_sees_what_ones_calls_have_to_pass(client, alice, several):
    client.force_login(alice)

    assert whose(client) == {
        1: "everybody together", 2: "you", 4: "you", 7: "group Analysts", 8: "model openai/gpt-4o-mini",
        10: "connection openai",
    }  # fmt: skip


def test_a_keys_limits_come_with_it(client, alice, several):
    client.force_login(alice)

    assert whose(client, key=several.public_id) == {**whose(client), 5: "this key", 6: "this key"}
    assert f"/limits/mine/?key={several.public_id}" in client.get("/keys/").content.decode()


def test_anothers_key_is_none_of_ones_business(client, bob, several):
    client.force_login(bob)

    assert client.get(reverse("my-limits"), {"key": several.public_id}).status_code == 404


def test_the_playground_tells_what_limits_the_model(client, alice, several):
    client.force_login(alice)

    page = client.get("/playground/", {"model": "openai/gpt-4o-mini"}).content.decode()

    assert "6 limits on your calls to this model" in page
    assert "8 requests per minute <small>for model openai/gpt-4o-mini</small>" in page
