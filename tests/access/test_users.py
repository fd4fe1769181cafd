"""Users: who may change them, and who must stay."""

import re

import pytest
from django.core.exceptions import ValidationError
from django.utils.html import escape

from access import services
from access.models import AuditEvent, User
from access.roles import Role
from tests.access.conftest import acts
from tests.conftest import make_user

HOSTILE = ["<img src=x onerror=alert(1)>", "{{7*7}}", "=cmd()", "'; DROP TABLE access_user;--", "Ω≈ç√"]


def stored(user: User, **changes) -> dict[str, object]:
    return {
        "email": user.email,
        "role": user.role,
        "groups": list(user.groups.all()),
        "is_active": user.is_active,
        **changes,
    }


def test_a_new_user_gets_a_temporary_password_once(ada, signed_in, analysts):
    admin = signed_in(ada)

    shown = admin.post("/users/new/", {"username": "zoe", "role": "analyst", "groups": [analysts.pk]})

    password = re.search(r'<code id="password">([a-z0-9-]+)</code>', shown.content.decode())[1]
    zoe = User.objects.get(username="zoe")
    assert zoe.check_password(password)
    assert list(zoe.groups.all()) == [analysts]
    assert shown["Cache-Control"] == "no-store"
    assert password not in admin.get(f"/users/{zoe.pk}/").content.decode()
    assert password not in str(list(AuditEvent.objects.values()))
    assert acts() == ["user.created"]


@pytest.mark.parametrize("name", ["alice", "ALICE", "Alice ", "ａｌｉｃｅ", "al\u0131ce".replace("\u0131", "i")])
def test_a_name_is_taken_in_any_case_and_spelling(ada, alice, signed_in, name):
    """B127."""
    response = signed_in(ada).post("/users/new/", {"username": name, "role": "analyst"})

    assert response.status_code == 422
    assert "taken already" in response.content.decode()


@pytest.mark.parametrize("name", ["", "  ", "a\u200bb", "a\u202eb", "x" * 151, "a\x00b", "a\nb"])
def test_a_name_that_nobody_can_read_is_refused(ada, signed_in, name):
    response = signed_in(ada).post("/users/new/", {"username": name, "role": "analyst"})

    assert response.status_code == 422
    assert User.objects.count() == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_text(ada, signed_in, name):
    """B128, W1."""
    user, _ = services.create_user(ada, username=name)
    admin = signed_in(ada)

    for path in ("/users/", f"/users/{user.pk}/", "/audit/"):
        assert escape(name) in admin.get(path).content.decode()


def test_an_address_belongs_to_one_user(ada, alice):
    with pytest.raises(ValidationError, match="Another user has this address"):
        services.create_user(ada, username="zoe", email="Alice@Example.test")


def test_a_change_is_recorded_with_what_changed(ada, alice, analysts, signed_in):
    signed_in(ada).post(f"/users/{alice.pk}/", {"email": alice.email, "role": "operator", "is_active": "on"})

    event = AuditEvent.objects.get(action="user.changed")
    assert event.actor == ada and event.address == "127.0.0.1"
    assert event.before == {"role": "analyst", "groups": ["Analysts"]}
    assert event.after == {"role": "operator", "groups": []}


def test_saving_without_a_change_records_nothing(ada, alice):
    services.update_user(ada, alice, **stored(alice))

    assert acts() == []


@pytest.mark.parametrize("change", [{"role": Role.ANALYST}, {"is_active": False}])
def test_admins_cannot_lock_themselves_out(ada, change):
    make_user("second", Role.ADMIN)

    with pytest.raises(ValidationError, match="your own account"):
        services.update_user(ada, ada, **stored(ada, **change))

    ada.refresh_from_db()
    assert ada.role == Role.ADMIN and ada.is_active


@pytest.mark.parametrize("change", [{"role": Role.ANALYST}, {"is_active": False}])
def test_the_last_active_admin_stays(ada, olga, change):
    make_user("former", Role.ADMIN)
    User.objects.filter(username="former").update(is_active=False)

    with pytest.raises(ValidationError, match="last active admin"):
        services.update_user(olga, ada, **stored(ada, **change))


def test_one_of_two_admins_may_go(ada):
    second = make_user("second", Role.ADMIN)

    assert services.update_user(ada, second, **stored(second, role=Role.ANALYST)).role == Role.ANALYST


def test_the_page_says_why_an_admin_stays(ada, signed_in):
    response = signed_in(ada).post(f"/users/{ada.pk}/", {"role": "analyst", "is_active": "on"})

    assert response.status_code == 422
    assert "your own account" in response.content.decode()


def test_a_user_page_explains_each_model(ada, alice, model, signed_in):
    shown = signed_in(ada).get(f"/users/{alice.pk}/").context["models"]

    assert [(one.public_id, one.usable, one.reason) for one in shown] == [
        ("main/chat", True, "Granted to Analysts."),
        ("main/secret", False, "No group of theirs is granted it."),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: type(model).objects.update(enabled=False), "It is switched off."),
        (lambda model: type(model.connection).objects.update(paused=True), "Its connection is paused."),
    ],
)
def test_a_model_that_is_off_says_so(ada, alice, model, signed_in, change, reason):
    change(model)

    shown = signed_in(ada).get(f"/users/{alice.pk}/").context["models"]

    assert [one.reason for one in shown if one.public_id == "main/chat"] == [reason]
    assert not [one for one in shown if one.usable]


@pytest.mark.parametrize("after", ["-1", "1000000000", "%", "zzz", "9" * 40])
@pytest.mark.parametrize("path", ["/users/", "/keys/", "/audit/"])
def test_a_strange_page_is_still_a_page(ada, key_for, signed_in, path, after):
    """B149."""
    key_for(ada)

    assert signed_in(ada).get(path, {"after": after}).status_code == 200


@pytest.mark.parametrize("query", [{"q": "%"}, {"q": "_"}, {"sort": "password"}, {"role": "nobody"}])
def test_a_filter_takes_wildcards_as_letters_and_nothing_hidden(ada, alice, signed_in, query):
    response = signed_in(ada).get("/users/", query)

    names = [user.username for user in response.context["page"].rows]
    assert response.status_code == 200
    assert names == ([] if query.get("q") in {"%", "_"} else ["ada", "alice"])


def test_a_filter_reaches_no_hidden_column(ada, signed_in):
    shown = signed_in(ada).get("/users/", {"password__startswith": "argon2", "is_superuser": "true"})

    assert [user.username for user in shown.context["page"].rows] == ["ada"]


def test_a_long_list_pages_by_key(ada, signed_in):
    User.objects.bulk_create([User(username=f"user{number:03}") for number in range(120)])
    admin, seen, after = signed_in(ada), [], ""
    while True:
        page = admin.get("/users/", {"after": after}).context["page"]
        seen += [user.username for user in page.rows]
        after = page.after
        if not after:
            break

    assert seen == sorted(User.objects.values_list("username", flat=True))
