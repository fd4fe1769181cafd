"""Encryption at rest: where a ciphertext opens, and that it opens nowhere else."""

import json
import pickle
import uuid

import pytest
from django.conf import settings
from django.urls import reverse

from access.models import AuditEvent
from connections import secrets, services
from connections.models import Connection, State
from connections.secrets import Unreadable
from connections.views.wizard import drafts
from tests.connections.accounts import CANARY, connect

PLACE = secrets.binding("connections_connection", uuid.UUID(int=1), "sealed", 3)
OTHER_PLACES = [
    secrets.binding("connections_connection", uuid.UUID(int=2), "sealed", 3),
    secrets.binding("connections_connection", uuid.UUID(int=1), "sealed", 2),
    secrets.binding("connections_connection", uuid.UUID(int=1), "settings", 3),
    secrets.binding("gateway_webhook", uuid.UUID(int=1), "sealed", 3),
]
FIRST, SECOND = "first-root-" + "a" * 32, "second-root-" + "b" * 32


@pytest.fixture
def ring(settings):
    """`ring(…)` configures these root secrets, the writing one first."""

    def configure(*roots):
        settings.ROOTS = {**settings.ROOTS, "MESH_ENCRYPTION_KEYS": list(roots)}

    return configure


def test_what_is_sealed_opens_in_its_place_and_holds_no_plain_text():
    sealed = secrets.seal({"api_key": CANARY}, PLACE)

    assert CANARY.encode() not in sealed
    assert dict(secrets.unseal(sealed, PLACE)) == {"api_key": CANARY}


def test_the_same_value_never_looks_the_same():
    assert secrets.seal({"api_key": CANARY}, PLACE) != secrets.seal({"api_key": CANARY}, PLACE)


@pytest.mark.parametrize("place", OTHER_PLACES)
def test_a_ciphertext_moved_to_another_place_does_not_open(place):
    with pytest.raises(Unreadable):
        secrets.unseal(secrets.seal({"api_key": CANARY}, PLACE), place)


def test_no_flipped_bit_goes_unnoticed():
    sealed = secrets.seal({"api_key": "k"}, PLACE)

    for position in range(len(sealed)):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[position] ^= 1 << bit
            with pytest.raises(Unreadable):
                secrets.unseal(bytes(altered), PLACE)


def test_no_shortened_ciphertext_opens():
    sealed = secrets.seal({"api_key": "k"}, PLACE)

    for length in range(len(sealed)):
        with pytest.raises(Unreadable):
            secrets.unseal(sealed[:length], PLACE)


def test_a_key_that_is_not_configured_is_named(ring):
    ring(FIRST)
    sealed = secrets.seal({"api_key": CANARY}, PLACE)

    ring(SECOND)
    with pytest.raises(Unreadable, match=sealed[1:5].hex()):
        secrets.unseal(sealed, PLACE)


def test_the_first_key_writes_and_all_read(ring):
    ring(FIRST)
    old = secrets.seal({"api_key": "old"}, PLACE)
    ring(SECOND, FIRST)
    new = secrets.seal({"api_key": "new"}, PLACE)

    assert dict(secrets.unseal(old, PLACE)) == {"api_key": "old"}
    ring(SECOND)
    assert dict(secrets.unseal(new, PLACE)) == {"api_key": "new"}
    with pytest.raises(Unreadable):
        secrets.unseal(old, PLACE)


def test_the_encryption_key_is_no_other_root_secret():
    sealed = secrets.seal({"api_key": CANARY}, PLACE)

    for name, values in settings.ROOTS.items():
        if name != "MESH_ENCRYPTION_KEYS":
            assert secrets._kek(values[0]) not in [
                secrets._kek(root) for root in settings.ROOTS["MESH_ENCRYPTION_KEYS"]
            ]
    assert dict(secrets.unseal(sealed, PLACE))


def test_decrypted_values_are_neither_shown_nor_pickled():
    values = secrets.unseal(secrets.seal({"api_key": CANARY}, PLACE), PLACE)

    assert CANARY not in f"{values!r} {values}"
    with pytest.raises(TypeError):
        pickle.dumps(values)


def test_the_ciphertexts_of_two_rows_cannot_be_exchanged(ada):
    first, second = connect(ada, "First"), connect(ada, "Second")
    Connection.objects.filter(pk=first.pk).update(sealed=second.sealed)

    with pytest.raises(Unreadable):
        Connection.objects.get(pk=first.pk).credential()


def test_an_older_ciphertext_of_the_same_row_does_not_open(ada):
    connection = connect(ada)
    services.update_connection(ada, connection, revision=1, typed={"api_key": "sk-new"})
    Connection.objects.update(sealed=connection.sealed)

    with pytest.raises(Unreadable):
        Connection.objects.get().credential()


def test_a_broken_credential_marks_its_connection_instead_of_crashing(client, ada):
    connection = connect(ada)
    Connection.objects.update(sealed=bytes(connection.sealed)[:-1] + b"!")
    client.force_login(ada)

    response = client.post(reverse("connection-test", args=[connection.pk]))

    assert response.status_code == 200
    assert "cannot be decrypted" in response.content.decode()
    assert Connection.objects.get().state == State.FAILING
    assert AuditEvent.objects.filter(action="credential.unreadable").exists()


def test_a_draft_in_the_session_holds_no_plain_secret(client, ada):
    client.force_login(ada)
    client.post(
        "/connections/new/openai/", {"name": "Main", "settings-api_key": CANARY, "settings-base_url": "nonsense"}
    )

    kept = client.session[drafts.SESSION_KEY]["openai"]

    assert CANARY not in json.dumps(kept)
    assert CANARY[:12] not in json.dumps(kept)


def test_a_draft_of_another_key_is_only_forgotten(client, ada, ring):
    ring(FIRST)
    client.force_login(ada)
    client.post(
        "/connections/new/openai/", {"name": "Main", "settings-api_key": CANARY, "settings-base_url": "nonsense"}
    )

    ring(SECOND)
    assert "•••• kept" not in client.get("/connections/new/openai/").content.decode()
