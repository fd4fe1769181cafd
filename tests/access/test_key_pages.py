"""API keys on pages: whose they are, what they may do, that they are shown once."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from access import keys
from access.models import ApiKey, AuditEvent
from access.roles import Role
from tests.access.conftest import acts


def create(client, user, **more):
    return client.post("/keys/new/", {"name": "billing", "owner": user.pk, "scopes": ["generate"], **more})


def key_in(response) -> str:
    return re.search(r'<code id="key">(mesh_\w+)</code>', response.content.decode())[1]


def test_a_new_key_is_shown_once_and_works(client, alice, model, signed_in):
    browser = signed_in(alice)

    shown = create(browser, alice, scopes=["generate", "read"])

    key = key_in(shown)
    assert shown["Cache-Control"] == "no-store"
    assert f"Authorization: Bearer {key}" in shown.content.decode().replace("&quot;", '"')
    assert '"model": "main/chat"' in shown.content.decode().replace("&quot;", '"')
    assert client.get("/api/keys/", headers={"x-api-key": key}).status_code == 200
    assert key not in browser.get("/keys/").content.decode()
    assert key not in str(list(AuditEvent.objects.values()))
    assert acts() == ["key.created"]


def test_a_key_may_be_limited_to_models_of_its_owner(alice, model, signed_in):
    create(signed_in(alice), alice, allowed_models=["main/chat"])

    assert ApiKey.objects.get().allowed_models == ["main/chat"]


def test_a_model_that_the_owner_cannot_use_is_no_choice(alice, model, signed_in):
    response = create(signed_in(alice), alice, allowed_models=["main/secret"])

    assert response.status_code == 422
    assert not ApiKey.objects.exists()


def test_an_analyst_makes_keys_for_nobody_else(alice, bob, signed_in):
    assert create(signed_in(alice), bob).status_code == 422
    assert not ApiKey.objects.exists()


def test_an_admin_makes_a_key_for_somebody_else(ada, alice, model, signed_in):
    key = key_in(create(signed_in(ada), alice, allowed_models=["main/chat"]))

    assert keys.find(key).owner == alice


def test_an_admin_gives_an_analysts_key_no_more_than_the_analyst_has(ada, alice, model, signed_in):
    response = create(signed_in(ada), alice, allowed_models=["main/secret"])

    assert response.status_code == 422
    assert "alice cannot use main/secret" in response.content.decode()


def test_an_auditor_owns_no_key(ada, oscar, signed_in):
    assert create(signed_in(ada), oscar).status_code == 422


@pytest.mark.parametrize(
    "when",
    [
        (timezone.now() - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M"),
        "10000-01-01T00:00",
        "0000-00-00",
        "soon",
        "\x00",
    ],
)
def test_an_expiry_that_cannot_be_is_refused(alice, signed_in, when):
    """B131."""
    assert create(signed_in(alice), alice, expires_at=when).status_code == 422
    assert not ApiKey.objects.exists()


def test_an_expiry_in_the_future_is_kept(alice, signed_in):
    create(signed_in(alice), alice, expires_at="2099-12-31T23:59")

    assert ApiKey.objects.get().expires_at.isoformat() == "2099-12-31T23:59:00+00:00"


@pytest.mark.parametrize("wrong", [{"scopes": []}, {"scopes": ["everything"]}, {"name": ""}, {"name": "x" * 81}])
def test_a_key_without_a_purpose_is_refused(alice, signed_in, wrong):
    assert create(signed_in(alice), alice, **wrong).status_code == 422


def test_users_see_their_own_keys_and_admins_all(ada, alice, bob, key_for, signed_in):
    key_for(alice)
    key_for(bob)

    def owners(user):
        return {row.owner.username for row in signed_in(user).get("/keys/").context["page"].rows}

    assert owners(alice) == {"alice"}
    assert owners(ada) == {"alice", "bob"}


def test_a_revoked_key_is_refused_and_stays_listed(client, alice, key_for, signed_in):
    key, browser = key_for(alice), signed_in(alice)

    browser.post(f"/keys/{key[5:15]}/revoke/")

    assert client.get("/api/keys/", headers={"x-api-key": key}).status_code == 401
    assert browser.get("/keys/").context["page"].rows[0].state == "revoked"
    assert acts() == ["key.revoked"]


def test_anothers_key_cannot_be_told_from_an_absent_one(alice, bob, key_for, signed_in):
    """A2: same status and text."""
    theirs, browser = key_for(bob)[5:15], signed_in(alice)

    foreign, absent = browser.post(f"/keys/{theirs}/revoke/"), browser.post("/keys/0123456789/revoke/")

    assert (foreign.status_code, absent.status_code) == (404, 404)
    texts = {re.sub(rb'"X-CSRFToken": "\w+"', b"", response.content) for response in (foreign, absent)}
    assert len(texts) == 1
    assert ApiKey.objects.get().state == "active"


def test_an_admin_revokes_anybodys_key(ada, alice, key_for, signed_in):
    public_id = key_for(alice)[5:15]

    signed_in(ada).post(f"/keys/{public_id}/revoke/")

    assert ApiKey.objects.get().state == "revoked"


def test_a_demoted_owners_key_manages_nothing(client, ada, key_for):
    key = key_for(ada)
    type(ada).objects.update(role=Role.OPERATOR)

    assert client.get("/api/users/", headers={"x-api-key": key}).status_code == 403


def test_a_hostile_name_is_only_text(alice, signed_in):
    browser = signed_in(alice)

    shown = create(browser, alice, name="<img src=x onerror=alert(1)>")

    for text in (shown.content.decode(), browser.get("/keys/").content.decode()):
        assert "<img src=x" not in text
