"""API keys: their shape, what is stored, and how they are found (K1–K4)."""

import string
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access import keys
from access.models import ApiKey
from access.roles import Role, Scope

LETTERS = string.digits + string.ascii_letters


@pytest.fixture
def key(alice, key_for) -> str:
    return key_for(alice)


def ask(client, key: str, **headers):
    return client.get("/api/keys/", headers={"Authorization": f"Bearer {key}", **headers})


def test_a_key_has_the_documented_shape():
    prefix, public_id, secret = keys.new_key().split("_")

    assert prefix == "mesh"
    assert (len(public_id), len(secret)) == (10, 43 + 6)
    assert set(public_id + secret) <= set(LETTERS)


def test_keys_are_not_alike():
    made = {keys.new_key() for _ in range(2000)}

    assert len(made) == len({key[5:15] for key in made}) == 2000


@pytest.mark.parametrize("place", [5, 16, 40, 58, 60, 64])
def test_a_changed_letter_breaks_the_checksum(place):
    key = keys.new_key()
    other = "a" if key[place] != "a" else "b"

    assert keys.well_formed(key)
    assert not keys.well_formed(key[:place] + other + key[place + 1 :])


def test_neither_the_key_nor_its_secret_is_stored(key):
    row = ApiKey.objects.get()
    stored = " ".join(str(value) for value in ApiKey.objects.values().get().values())

    assert row.digest == keys.digest(key)
    assert key not in stored
    assert key.split("_")[2][:12] not in stored


def test_a_key_finds_its_owner(client, alice, key):
    assert ask(client, key).status_code == 200
    assert keys.find(key).owner == alice


def test_a_key_shows_when_it_was_last_used(client, key):
    assert ApiKey.objects.get().last_used_at is None

    ask(client, key)

    assert timezone.now() - ApiKey.objects.get().last_used_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    "presented",
    [
        lambda row, key: row.digest,
        lambda row, key: row.public_id,
        lambda row, key: f"mesh_{row.public_id}",
        lambda row, key: f"mesh_{row.public_id}…",
        lambda row, key: row.owner.password,
        lambda row, key: key[:-1],
        lambda row, key: key + "0",
        lambda row, key: key.upper(),
        lambda row, key: "' OR 1=1--",
        lambda row, key: "%00",
        lambda row, key: "mesh_" + "é" * 59,
        lambda row, key: "",
    ],
)
def test_what_is_stored_or_shown_opens_nothing(client, key, presented):
    row = ApiKey.objects.get()

    assert ask(client, presented(row, key)).status_code == 401


def test_wrong_keys_never_reach_the_text_of_a_query(client, key):
    """They travel as bound values, on the way of a refusal too."""
    texts = []

    def note(execute, sql, params, many, context):
        texts.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        for number in range(50):
            ask(client, f"mesh_' OR {number}={number}--{keys.new_key()}")

    assert texts and not [text for text in texts if "--" in text or "' OR" in text]


def test_an_unknown_id_costs_the_same_queries_as_a_wrong_secret(client, key):
    wrong_secret = keys.new_key()[:5] + key[5:15] + keys.new_key()[15:]
    counts = []
    for presented in (keys.new_key(), wrong_secret):
        with CaptureQueriesContext(connection) as queries:
            assert ask(client, presented).status_code == 401
        counts.append(len(queries))

    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda row: ApiKey.objects.update(revoked_at=timezone.now()),
        lambda row: ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1)),
        lambda row: type(row.owner).objects.update(is_active=False),
    ],
    ids=["revoked", "expired", "owner disabled"],
)
def test_a_dead_key_is_refused_at_once(client, key, change):
    assert ask(client, key).status_code == 200

    change(ApiKey.objects.get())

    assert ask(client, key).status_code == 401


def test_a_demotion_is_felt_at_once(client, ada, key_for):
    headers = {"Authorization": f"Bearer {key_for(ada)}"}
    assert client.get("/api/users/", headers=headers).status_code == 200

    type(ada).objects.update(role=Role.ANALYST)

    assert client.get("/api/users/", headers=headers).status_code == 403


def test_two_different_keys_in_one_request_are_refused(client, alice, key, key_for):
    assert ask(client, key, **{"x-api-key": key_for(alice)}).status_code == 400
    assert ask(client, key, **{"x-api-key": key}).status_code == 200


def test_both_headers_are_the_same_door(client, key):
    assert client.get("/api/keys/", headers={"x-api-key": key}).status_code == 200


def test_a_key_may_do_what_its_scopes_say(client, alice, key_for):
    read_only = {"Authorization": f"Bearer {key_for(alice, [Scope.READ])}"}
    asked = {"name": "more", "scopes": ["read"]}

    assert client.get("/api/keys/", headers=read_only).status_code == 200
    assert client.post("/api/keys/", asked, headers=read_only, content_type="application/json").status_code == 403


def test_a_key_in_the_query_is_no_key(client, key):
    assert client.get(f"/api/keys/?api_key={key}&access_token={key}").status_code == 401
