"""Users, groups, keys and the audit log through `/api/`."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from access import keys
from access.models import ApiKey, AuditEvent, User
from access.roles import Role, Scope
from tests.access.conftest import acts


@pytest.fixture
def admin(ada, calling):
    return calling(ada)


def problem(response) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    assert response["x-request-id"] == error["request_id"]
    return response.status_code, error["code"], error["param"]


def test_an_account_is_made_with_a_password_shown_once(admin, analysts):
    answer = admin.post("/api/users/", {"username": "zoe", "role": "operator", "groups": ["Analysts"]}, format="json")

    assert answer.status_code == 201 and answer["Cache-Control"] == "no-store"
    zoe = User.objects.get(username="zoe")
    assert zoe.check_password(answer.json()["temporary_password"])
    assert "temporary_password" not in admin.get(f"/api/users/{zoe.pk}/").json()
    assert acts() == ["user.created"]


def test_an_account_is_changed_field_by_field(admin, alice):
    answer = admin.patch(f"/api/users/{alice.pk}/", {"role": "operator"}, format="json")

    assert answer.json()["role"] == "operator"
    alice.refresh_from_db()
    assert (alice.role, alice.email, alice.is_active) == ("operator", "alice@example.test", True)
    assert [group.name for group in alice.groups.all()] == ["Analysts"]


@pytest.mark.parametrize(
    "field", ["password", "is_superuser", "is_staff", "user_permissions", "session_epoch", "id", "username", "nonsense"]
)
def test_a_field_that_cannot_be_set_is_refused_by_name(admin, alice, field):
    """A4."""
    answer = admin.patch(f"/api/users/{alice.pk}/", {field: 1}, format="json")

    assert problem(answer) == (400, "unknown_field", field)


def test_no_answer_about_users_holds_a_password(admin, ada, alice):
    for path in ("/api/users/", f"/api/users/{alice.pk}/"):
        text = admin.get(path).content.decode()
        assert "argon2" not in text and "password" not in text


def test_admins_cannot_lock_themselves_out(admin, ada):
    answer = admin.patch(f"/api/users/{ada.pk}/", {"is_active": False}, format="json")

    assert problem(answer) == (400, "invalid_value", "role")


def test_accounts_are_not_deleted(admin, alice):
    assert admin.delete(f"/api/users/{alice.pk}/").status_code == 405


def test_a_temporary_password_is_set(admin, alice):
    password = admin.post(f"/api/users/{alice.pk}/password/").json()["temporary_password"]

    alice.refresh_from_db()
    assert alice.check_password(password)


def test_a_group_is_made_renamed_filled_emptied_and_deleted(admin, alice, charlie):
    group = admin.post("/api/groups/", {"name": "Finance"}, format="json").json()
    path = f"/api/groups/{group['id']}/"

    assert admin.patch(path, {"name": "Sales"}, format="json").json()["name"] == "Sales"
    assert admin.post(f"{path}members/", {"username": "charlie"}, format="json").json()["members"] == ["charlie"]
    assert admin.delete(f"{path}members/charlie/").status_code == 204
    assert admin.get(path).json()["members"] == []
    assert admin.delete(path).status_code == 204
    assert acts() == [
        "group.created", "group.renamed", "group.member_added", "group.member_removed", "group.deleted",
    ]  # fmt: skip


def test_everyone_is_not_changed(admin):
    everyone = Group.objects.get(name="Everyone")

    assert problem(admin.patch(f"/api/groups/{everyone.pk}/", {"name": "x"}, format="json"))[0] == 400
    assert problem(admin.delete(f"/api/groups/{everyone.pk}/"))[0] == 400


def test_a_key_is_made_shown_once_and_revoked(calling, client, alice, model):
    caller = calling(alice)
    asked = {"name": "billing", "scopes": ["read", "generate"], "allowed_models": ["main/chat"]}

    made = caller.post("/api/keys/", asked, format="json")

    key = made.json()["key"]
    assert made.status_code == 201 and made["Cache-Control"] == "no-store"
    assert keys.find(key).owner == alice
    path = f"/api/keys/{made.json()['id']}/"
    assert "key" not in caller.get(path).json()
    assert caller.delete(path).status_code == 204
    assert keys.find(key) is None
    assert caller.get(path).json()["state"] == "revoked"
    assert acts() == ["key.created", "key.revoked"]


@pytest.mark.parametrize("asked", [["generate"], ["manage", "generate"]])
def test_a_key_gives_no_scope_that_it_has_not(calling, alice, asked):
    answer = calling(alice, [Scope.MANAGE]).post("/api/keys/", {"name": "x", "scopes": asked}, format="json")

    assert problem(answer) == (400, "invalid_value", "scopes")
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("asked", [[], ["main/chat", "main/secret"]])
def test_a_limited_key_makes_no_wider_one(calling, alice, model, asked):
    caller = calling(alice, allowed_models=["main/chat"])

    answer = caller.post("/api/keys/", {"name": "x", "scopes": ["read"], "allowed_models": asked}, format="json")

    assert problem(answer) == (400, "invalid_value", "allowed_models")


def test_a_limited_key_makes_an_equally_limited_one(calling, alice, model):
    caller = calling(alice, allowed_models=["main/chat"])
    asked = {"name": "x", "scopes": ["read"], "allowed_models": ["main/chat"]}

    assert caller.post("/api/keys/", asked, format="json").status_code == 201


def test_an_analyst_makes_keys_for_nobody_else(calling, alice, bob):
    answer = calling(alice).post("/api/keys/", {"name": "x", "scopes": ["read"], "owner": "bob"}, format="json")

    assert problem(answer) == (400, "invalid_value", "owner")


def test_an_admin_makes_a_key_for_somebody_else(admin, alice):
    made = admin.post("/api/keys/", {"name": "x", "scopes": ["read"], "owner": "alice"}, format="json").json()

    assert keys.find(made["key"]).owner == alice


@pytest.mark.parametrize(
    "expiry", ["2020-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "soon", 5, {}]
)
def test_an_expiry_that_cannot_be_is_refused(calling, alice, expiry):
    """B131."""
    asked = {"name": "x", "scopes": ["read"], "expires_at": expiry}

    assert problem(calling(alice).post("/api/keys/", asked, format="json")) == (400, "invalid_value", "expires_at")


@pytest.mark.parametrize("method", ["get", "delete"])
def test_anothers_key_cannot_be_told_from_an_absent_one(calling, alice, bob, key_for, method):
    theirs, caller = key_for(bob)[5:15], calling(alice)

    answers = [getattr(caller, method)(f"/api/keys/{key_id}/").json()["error"] for key_id in (theirs, "0123456789")]

    for answer in answers:
        answer.pop("request_id")
    assert answers[0] == answers[1]
    assert answers[0]["code"] == "not_found"


def test_users_see_their_own_keys_and_admins_all(calling, ada, alice, bob, key_for):
    key_for(bob)

    def owners(user):
        return {row["owner"] for row in calling(user).get("/api/keys/").json()["results"]}

    assert owners(alice) == {"alice"}
    assert owners(ada) == {"ada", "alice", "bob"}


def test_the_audit_log_is_read_and_filtered(calling, oscar, ada):
    AuditEvent.objects.create(actor_label="ada", action="user.created")
    AuditEvent.objects.create(actor_label="ada", action="key.created")

    found = calling(oscar).get("/api/audit/", {"action": "key."}).json()["results"]

    assert [event["action"] for event in found] == ["key.created"]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_audit_log_is_never_changed(admin, method):
    event = AuditEvent.objects.create(actor_label="ada", action="user.created")

    assert getattr(admin, method)(f"/api/audit/{event.pk}/").status_code == 405
    assert AuditEvent.objects.filter(pk=event.pk).exists()


def test_lists_page_by_key(admin):
    User.objects.bulk_create([User(username=f"user{number:03}", role=Role.ANALYST) for number in range(25)])
    seen, address = [], "/api/users/?page_size=10"
    while address:
        page = admin.get(address).json()
        seen += [user["id"] for user in page["results"]]
        address = page["next"]

    assert seen == sorted(User.objects.values_list("pk", flat=True), reverse=True)


@pytest.mark.parametrize(
    "query", ["cursor=nonsense", "page_size=-1", "page_size=1e9", "ordering=password", "q=%25", "password=x", "q=%00"]
)
@pytest.mark.parametrize("path", ["/api/users/", "/api/keys/", "/api/audit/", "/api/groups/"])
def test_a_strange_query_is_never_a_crash(admin, path, query):
    """B149."""
    assert admin.get(f"{path}?{query}").status_code in (200, 400, 404)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"text"', b'{"name": "x"', b'{"name": "a", "name": "b"}', b'{"name": "\\ud800"}',
     b'{"name": "\\u0000"}', b'{"name": 5}', b'{"name": NaN}', b"[" * 100_000, b"\xff\xfe", b'{"name": []}'],
)  # fmt: skip
def test_a_bad_body_is_refused_with_the_contract(admin, body):
    answer = admin.post("/api/groups/", body, content_type="application/json")

    assert problem(answer)[0] == 400
    assert acts() == []


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/api/groups/", {"name": True}, "name"),
        ("/api/users/", {"username": "dora", "role": 1}, "role"),
        ("/api/users/", {"username": "dora", "groups": [5]}, "groups"),
        ("/api/users/", {"username": "dora", "groups": {}}, "groups"),
        ("/api/keys/", {"name": "one", "scopes": "read"}, "scopes"),
        ("/api/keys/", {"name": "one", "scopes": ["read"], "allowed_models": [None, 7]}, "allowed_models"),
        ("/api/limits/", {"scope": "all", "what": "requests", "amount": "5", "seconds": 60}, "amount"),
        ("/api/limits/", {"scope": "all", "what": "requests", "amount": True, "seconds": 60}, "amount"),
        ("/api/routes/", {"name": "one", "on_error": "yes", "targets": []}, "on_error"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(admin, path, body, param):
    assert problem(admin.post(path, body, content_type="application/json")) == (400, "invalid_value", param)
    assert acts() == []


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/api/users/?page_size=", "page_size"),
        ("/api/users/?page_size=0", "page_size"),
        ("/api/users/?page_size=501", "page_size"),
        ("/api/users/?page_size=null", "page_size"),
        ("/api/users/?is_active=null", "is_active"),
        ("/api/users/?is_active=", "is_active"),
        ("/api/audit/?until=", "until"),
        ("/api/usage/?user_id=0.5", "user_id"),
        ("/api/grants/?group=0.5", "group"),
        ("/api/connections/?paused=1", "paused"),
        ("/api/limits/?enabled=yes", "enabled"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_by_name(admin, path, param):
    assert problem(admin.get(path))[::2] == (400, param)


def test_true_and_false_pick_rows(admin):
    User.objects.create(username="gone", is_active=False)

    def names(query):
        return [row["username"] for row in admin.get(f"/api/users/?is_active={query}").json()["results"]]

    assert names("false") == ["gone"]
    assert "gone" not in names("true") and names("true")


def test_an_unknown_address_answers_in_the_contracts_shape(client, db):
    assert problem(client.get("/api/nothing/")) == (404, "not_found", None)


def test_the_schema_is_valid_and_holds_our_resources(db, capsys):
    schema = SchemaGenerator().get_schema(request=None, public=True)

    validate_schema(schema)
    assert {"/api/users/", "/api/groups/", "/api/keys/", "/api/audit/"} <= set(schema["paths"])
    assert "Warning" not in capsys.readouterr().err


def test_a_key_makes_none_that_outlives_it(alice, calling):
    end = timezone.now() + timedelta(hours=1)
    client = calling(alice, expires_at=end)

    def asked(**expiry):
        return client.post("/api/keys/", {"name": "x", "scopes": ["read"], **expiry}, format="json")

    assert asked().status_code == 400
    assert asked(expires_at=end + timedelta(seconds=1)).json()["error"]["param"] == "expires_at"
    assert asked(expires_at=end).status_code == 201
