"""Limits through `/api/`: the same acts and rights as on the pages."""

import pytest
from django.contrib.auth.models import Group
from rest_framework.test import APIClient

from access.models import EVERYONE, AuditEvent
from access.roles import Scope
from connections.models import Connection, Grant, Model
from gateway.limits import acts
from gateway.models import Limit

pytestmark = pytest.mark.django_db
PATH = "/api/limits/"


@pytest.fixture
def calling(key_for):
    def make(user, scopes=None):
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key_for(user, scopes)}")
        return client

    return make


@pytest.fixture
def admin(ada, calling):
    return calling(ada)


def test_a_limit_is_added_read_changed_and_removed(admin, alice):
    given = {"scope": "user", "subject": str(alice.pk), "what": "tokens", "amount": 50_000, "seconds": 3600}

    made = admin.post(PATH, given, format="json")

    assert made.status_code == 201
    path = f"{PATH}{made.json()['id']}/"
    assert {name: made.json()[name] for name in given} == given
    assert (made.json()["name"], made.json()["enabled"]) == ("One user: alice", True)
    assert admin.patch(path, {"amount": 10, "enabled": False}, format="json").json()["amount"] == 10
    assert admin.get(path).json()["enabled"] is False
    assert admin.delete(path).status_code == 204
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["limit.added", "limit.changed", "limit.removed"]


GOOD = {"scope": "all", "what": "requests", "amount": 5}


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"amount": 0}, "invalid_value", "amount"),
        ({"amount": -1}, "invalid_value", "amount"),
        ({"amount": 10**13}, "invalid_value", "amount"),
        ({"amount": 10**30}, "invalid_value", "amount"),
        ({"amount": ""}, "invalid_value", "amount"),
        ({"amount": None}, "invalid_value", "amount"),
        ({"amount": 1.5}, "invalid_value", "amount"),
        ({"amount": True}, "invalid_value", "amount"),
        ({"amount": [5]}, "invalid_value", "amount"),
        ({"scope": "planet"}, "invalid_value", "scope"),
        ({"what": "words"}, "invalid_value", "what"),
        ({"seconds": 61}, "invalid_value", "seconds"),
        ({"what": "parallel", "seconds": 60}, "invalid_value", "seconds"),
        ({"subject": "alice"}, "invalid_value", "subject"),
        ({"scope": "user"}, "invalid_value", "subject"),
        ({"scope": "user", "subject": "999999"}, "invalid_value", "subject"),
        ({"scope": "user", "subject": "9" * 300}, "invalid_value", "subject"),
        ({"scope": "user", "subject": "9" * 301}, "invalid_value", "subject"),
        ({"scope": "connection", "subject": "nonsense"}, "invalid_value", "subject"),
        ({"enabled": False}, "unknown_field", "enabled"),
        ({"per": "minute"}, "unknown_field", "per"),
    ],
)
def test_a_senseless_limit_is_refused(admin, wrong, code, param):
    answer = admin.post(PATH, {**GOOD, **wrong}, format="json")

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert not Limit.objects.exists()


def test_what_a_limit_is_about_stays(admin, ada):
    row = acts.add_limit(ada, **GOOD)

    for field, value in (("scope", "each_user"), ("subject", "1"), ("what", "tokens"), ("seconds", 1), ("id", 7)):
        error = admin.patch(f"{PATH}{row.pk}/", {field: value}, format="json").json()["error"]
        assert (error["code"], error["param"]) == ("unknown_field", field)
    assert admin.patch(f"{PATH}{row.pk}/", {"amount": 0}, format="json").status_code == 400


def test_the_same_limit_is_refused_again(admin):
    assert admin.post(PATH, GOOD, format="json").status_code == 201

    error = admin.post(PATH, GOOD, format="json").json()["error"]

    assert "There is such a limit already" in error["message"]


def test_limits_are_filtered(admin, ada, alice):
    acts.add_limit(ada, **GOOD)
    acts.add_limit(ada, scope="user", subject=str(alice.pk), what="tokens", amount=9)

    def found(**query):
        return [row["what"] for row in admin.get(PATH, query).json()["results"]]

    assert found() == ["tokens", "requests"]
    assert found(scope="all") == found(enabled="true", what="requests") == ["requests"]
    assert found(subject=str(alice.pk)) == found(q="alic") == ["tokens"]
    assert admin.get(PATH, {"scope": "planet"}).status_code == 400


def test_a_list_costs_no_more_queries_than_one(admin, ada, django_assert_max_num_queries):
    for number in range(40):
        Limit.objects.create(scope="user", subject=str(ada.pk + number), what="requests", amount=1)

    with django_assert_max_num_queries(10):
        assert len(admin.get(PATH).json()["results"]) == 40


def test_rights(calling, ada, oscar, olga, alice):
    row = acts.add_limit(ada, **GOOD)
    path = f"{PATH}{row.pk}/"

    for user, seen in ((oscar, 200), (olga, 200), (alice, 403)):
        caller = calling(user)
        assert caller.get(PATH).status_code == seen
        assert caller.post(PATH, {**GOOD, "what": "tokens"}, format="json").status_code == 403
        assert caller.patch(path, {"amount": 1}, format="json").status_code == 403
        assert caller.delete(path).status_code == 403
    assert calling(ada, [Scope.READ]).delete(path).status_code == 403
    assert list(Limit.objects.values_list("amount", flat=True)) == [5]


def test_a_key_learns_what_limits_it(calling, ada, alice, bob):
    caller = calling(alice)
    key = alice.api_keys.get()
    connection = Connection.objects.create(name="Main", slug="main", kind="openai")
    Model.objects.create(connection=connection, public_id="main/chat", upstream_id="chat")
    assert caller.get(f"{PATH}mine/").json() == []  # it may ask nothing, so nothing limits it
    Grant.objects.create(connection=connection, group=Group.objects.get(name=EVERYONE))
    for amount, (scope, subject) in enumerate([("key", key.public_id), ("each_user", ""), ("user", bob.pk)], 1):
        acts.add_limit(ada, scope=scope, subject=str(subject), what="requests", amount=amount)

    rows = caller.get(f"{PATH}mine/").json()

    expected = {"what": "requests", "seconds": 60, "taken": None}
    assert sorted(rows, key=lambda row: row["amount"]) == [
        {"whose": "this key", "amount": 1, **expected},
        {"whose": "you", "amount": 2, **expected},
    ]


def test_the_document_describes_limits(client):
    document = client.get("/api/schema/?format=json").json()

    assert {"get", "post"} <= set(document["paths"]["/api/limits/"])
    assert {"get", "patch", "delete"} <= set(document["paths"]["/api/limits/{id}/"])
