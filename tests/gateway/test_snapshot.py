"""What survives when the configuration changes: the adapters of connections that did not change, with their tokens."""

import pytest

from access.models import User
from connections.models import Connection
from gateway.snapshot import Snapshot, build

pytestmark = pytest.mark.django_db


@pytest.fixture
def first(connect):
    connect("openai")
    connect("anthropic")
    return build(Snapshot())


def provider_of(snapshot, name):
    return next(entry.provider for entry in snapshot.models.values() if entry.connection == name)


def test_a_change_elsewhere_keeps_every_adapter(first):
    User.objects.create_user("newcomer")
    Connection.objects.update(revision=7, state="healthy", check_every=10)

    second = build(first)

    assert len(second.models) == 2
    assert [entry.provider for entry in second.models.values()] == [entry.provider for entry in first.models.values()]


def new_key(connection):
    connection.store_credential({"api_key": "sk-another"})


def new_address(connection):
    connection.settings = {"base_url": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize("change", [new_key, new_address])
def test_a_changed_connection_gets_a_new_adapter_and_no_other_does(first, change):
    connection = Connection.objects.get(name="openai")
    change(connection)
    connection.save()

    second = build(first)

    assert provider_of(second, "openai") is not provider_of(first, "openai")
    assert provider_of(second, "anthropic") is provider_of(first, "anthropic")
    assert provider_of(second, "openai").settings == connection.provider().settings


def test_a_credential_that_cannot_be_read_any_more_leaves_nothing_behind(first):
    Connection.objects.filter(name="openai").update(sealed=b"broken")

    assert {entry.connection for entry in build(first).models.values()} == {"anthropic"}


def test_a_paused_connection_comes_back_with_a_new_adapter(first):
    Connection.objects.update(paused=True)
    paused = build(first)
    Connection.objects.update(paused=False)

    assert not paused.adapters
    assert provider_of(build(paused), "openai") is not provider_of(first, "openai")


def test_the_snapshot_shows_no_settings(first, upstream):
    assert str(upstream.port) not in repr(first.adapters)
