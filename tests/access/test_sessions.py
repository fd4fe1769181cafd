"""Sign-in, sign-out, and when sessions end (K5)."""

import pytest
import time_machine
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.test import Client
from django.utils import timezone

from access import services
from access.models import AuditEvent
from access.roles import Role
from tests.access.conftest import acts
from tests.conftest import PASSWORD

LOGIN = "/accounts/login/"


def sign_in(client, name: str, password: str = PASSWORD, **more):
    return client.post(LOGIN, {"login": name, "password": password, **more})


def is_in(client) -> bool:
    return client.get("/accounts/password/change/").status_code == 200


@pytest.mark.parametrize("name", ["alice", "alice@example.test", "ALICE@example.test"])
def test_a_user_signs_in_by_name_or_address(client, alice, name):
    response = sign_in(client, name)

    assert response.status_code == 302
    assert is_in(client)
    assert acts() == ["session.started"]


def test_a_session_gets_a_new_id_at_sign_in(client, alice):
    client.get(LOGIN)
    session = client.session
    session["kept"] = "something"
    session.save()
    before = session.session_key
    client.cookies["mesh_session"] = before

    sign_in(client, "alice")

    assert client.cookies["mesh_session"].value != before


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(client, alice):
    sign_in(client, "alice")
    cookie = client.cookies["mesh_session"]

    assert cookie["httponly"] and cookie["samesite"] == "Lax"


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "wrong"), ("nobody", PASSWORD), ("nobody@example.test", PASSWORD), ("disabled", PASSWORD)],
)
def test_every_refusal_reads_the_same(client, alice, bob, name, password):
    type(bob).objects.filter(pk=bob.pk).update(is_active=False, username="disabled")

    response = sign_in(client, name, password)

    text = response.content.decode()
    assert response.status_code == 200
    assert "The name or the password is wrong." in text
    assert not is_in(client)
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.actor_label) == ("session.refused", None, name)
    assert password not in str(vars(event))


@pytest.mark.parametrize("name", ["alice", "nobody", "nobody@example.test", "disabled"])
def test_an_unknown_user_is_refused_as_slowly_as_a_wrong_password(client, alice, bob, monkeypatch, name):
    """Both cost one hash; all else takes no time beside it."""
    type(bob).objects.filter(pk=bob.pk).update(is_active=False, username="disabled")
    hashed = []

    def spied(method):
        def spy(hasher, password, salt):
            hashed.append(password)
            return method(hasher, password, salt)

        return spy

    for method in ("encode", "verify"):
        monkeypatch.setattr(Argon2PasswordHasher, method, spied(getattr(Argon2PasswordHasher, method)))

    sign_in(client, name, "wrong")

    assert hashed == ["wrong"]


def test_the_eleventh_try_in_a_quarter_of_an_hour_is_refused(client, alice):
    for _ in range(10):
        sign_in(client, "alice", "wrong")

    refused = sign_in(client, "alice")

    assert "Too many failed login attempts" in refused.content.decode()
    assert not is_in(client)


def test_tries_from_one_address_count_for_all_names(client, alice):
    for number in range(10):
        sign_in(client, f"nobody{number}", "wrong")

    sign_in(client, "alice")

    assert not is_in(client)


@pytest.mark.parametrize(
    "target", ["https://evil.test/", "//evil.test/", "/\\evil.test", "https:evil.test", "javascript:alert(1)"]
)
def test_next_leads_to_no_other_site(client, alice, target):
    response = sign_in(client, "alice", next=target)

    assert response["Location"] == "/"


def test_next_leads_back_to_the_page_that_was_asked_for(client, alice):
    asked = client.get("/keys/new/")
    assert asked["Location"] == "/accounts/login/?next=/keys/new/"

    assert sign_in(client, "alice", next="/keys/new/")["Location"] == "/keys/new/"


@pytest.mark.parametrize("path", ["/accounts/signup/", "/accounts/password/reset/", "/accounts/email/"])
def test_nobody_signs_up(client, db, path):
    assert client.get(path).status_code == 404


def test_signing_out_ends_the_sessions_on_every_device(alice, signed_in):
    laptop, phone = signed_in(alice), signed_in(alice)

    laptop.post("/accounts/logout/")

    assert not is_in(laptop) and not is_in(phone)
    assert "session.ended" in acts()


def test_a_get_signs_nobody_out(alice, signed_in):
    client = signed_in(alice)

    client.get("/accounts/logout/")

    assert is_in(client)


def test_a_changed_password_ends_all_sessions(alice, signed_in):
    laptop, phone = signed_in(alice), signed_in(alice)
    new = "another horse battery staple"

    answer = laptop.post("/accounts/password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new})

    assert answer["Location"] == LOGIN
    assert not is_in(laptop) and not is_in(phone)
    assert "user.password_changed" in acts()
    assert sign_in(Client(), "alice", new).status_code == 302


@pytest.mark.parametrize("weak", ["short", "password", "12345678901", "alice@example"])
def test_a_weak_password_is_refused(alice, signed_in, weak):
    client = signed_in(alice)

    client.post("/accounts/password/change/", {"oldpassword": PASSWORD, "password1": weak, "password2": weak})

    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


@pytest.mark.parametrize(
    "change", [{"role": Role.OPERATOR, "is_active": True}, {"role": Role.ANALYST, "is_active": False}]
)
def test_a_new_role_or_a_lock_ends_sessions(ada, alice, signed_in, change):
    client = signed_in(alice)

    services.update_user(ada, alice, email=alice.email, groups=[], **change)

    assert not is_in(client)


def test_a_lifted_lock_does_not_revive_old_sessions(ada, alice, signed_in):
    client = signed_in(alice)
    stored = {"email": alice.email, "groups": [], "role": Role.ANALYST}
    services.update_user(ada, alice, is_active=False, **stored)

    services.update_user(ada, alice, is_active=True, **stored)

    assert not is_in(client)


def test_a_temporary_password_ends_sessions(ada, alice, signed_in):
    client = signed_in(alice)

    password = services.set_temporary_password(ada, alice)

    assert not is_in(client)
    assert sign_in(Client(), "alice", password).status_code == 302


def test_an_admins_session_ends_after_half_an_hour_without_use(ada, alice, signed_in):
    now = timezone.now().timestamp()
    with time_machine.travel(now, tick=False) as clock:
        admin, analyst = signed_in(ada), signed_in(alice)
        assert is_in(admin) and is_in(analyst)
        clock.shift(29 * 60)
        assert is_in(admin)
        clock.shift(31 * 60)
        assert not is_in(admin)
        assert is_in(analyst)


def test_a_session_ends_after_twelve_hours_of_steady_use(ada, signed_in):
    now = timezone.now().timestamp()
    with time_machine.travel(now, tick=False) as clock:
        client = signed_in(ada)
        for _ in range(36):
            assert is_in(client)
            clock.shift(20 * 60)
        clock.shift(1)
        assert not is_in(client)


@pytest.fixture
def strict() -> Client:
    return Client(enforce_csrf_checks=True)


@pytest.mark.parametrize("token", [None, "", "a" * 64, "é"])
def test_a_form_without_our_token_changes_nothing(strict, ada, token):
    """B147, a plain form and one that htmx sends alike."""
    strict.force_login(ada)
    body = {"name": "Thieves"} | ({"csrfmiddlewaretoken": token} if token is not None else {})

    for headers in ({}, {"HX-Request": "true"}):
        response = strict.post("/groups/new/", body, headers=headers)
        assert response.status_code == 403
        assert "too old" in response.content.decode()
    assert "group.created" not in acts()


def test_another_sessions_token_is_foreign(strict, ada, alice):
    other = Client(enforce_csrf_checks=True)
    other.force_login(alice)
    foreign = other.get("/keys/new/").context["csrf_token"]
    strict.force_login(ada)
    strict.get("/groups/new/")

    assert strict.post("/groups/new/", {"name": "x", "csrfmiddlewaretoken": str(foreign)}).status_code == 403


def test_our_own_token_is_taken_from_the_form_or_the_header(strict, ada):
    strict.force_login(ada)
    token = str(strict.get("/groups/new/").context["csrf_token"])

    assert strict.post("/groups/new/", {"name": "One", "csrfmiddlewaretoken": token}).status_code == 302
    assert strict.post("/groups/new/", {"name": "Two"}, headers={"X-CSRFToken": token}).status_code == 302
