"""What survives when the configuration changes: whatever did not change, and nothing else."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access import keys
from access.models import ApiKey, User
from access.roles import Role, Scope
from connections.models import Connection, Grant, Model, Price
from gateway.models import Route, RouteTarget
from gateway.snapshot import Snapshot
from gateway.snapshots import build

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
    changed = Connection.objects.get(name="openai")
    change(changed)
    changed.save()

    second = build(first)

    assert provider_of(second, "openai") is not provider_of(first, "openai")
    assert provider_of(second, "anthropic") is provider_of(first, "anthropic")
    assert provider_of(second, "openai").settings == changed.provider().settings


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


@pytest.fixture
def company(connect):
    """Of everything two, so that a change to one leaves another."""
    for name, dialect in (("staff", "openai"), ("guests", "anthropic")):
        group, user = Group.objects.create(name=name), User.objects.create_user(name, role=Role.ANALYST)
        user.groups.add(group)
        keys.issue(user, name, scopes=[Scope.GENERATE])
        model = connect(dialect, group=group).models.get()
        RouteTarget.objects.create(route=Route.objects.create(name=f"for-{name}"), model=model)
    return build(Snapshot())


CHANGES = {
    "role": lambda: User.objects.filter(username="staff").update(role=Role.AUDITOR),
    "name": lambda: User.objects.filter(username="staff").update(username="people"),
    "membership": lambda: User.objects.get(username="staff").groups.clear(),
    "disabled user": lambda: User.objects.filter(username="staff").update(is_active=False),
    "scopes": lambda: ApiKey.objects.filter(name="staff").update(scopes=[Scope.READ]),
    "key's models": lambda: ApiKey.objects.filter(name="staff").update(allowed_models=["openai/gpt-4o-mini"]),
    "expiry": lambda: ApiKey.objects.filter(name="staff").update(expires_at=timezone.now()),
    "revocation": lambda: ApiKey.objects.filter(name="staff").update(revoked_at=timezone.now()),
    "mode": lambda: Model.objects.filter(connection__name="openai").update(mode="completion"),
    "capabilities": lambda: Model.objects.filter(connection__name="openai").update(capabilities=["vision"]),
    "options": lambda: Model.objects.filter(connection__name="openai").update(options={"max_inputs": 7}),
    "disabled model": lambda: Model.objects.filter(connection__name="openai").update(enabled=False),
    "renamed model": lambda: Model.objects.filter(connection__name="openai").update(public_id="openai/other"),
    "grant": lambda: Grant.objects.filter(connection__name="openai").delete(),
    "grant of one model": lambda: Grant.objects.filter(connection__name="openai").update(
        model=Model.objects.get(connection__name="openai"), group=Group.objects.get(name="guests")
    ),
    "price": lambda: Price.objects.create(model=Model.objects.get(connection__name="openai"), amounts={"input": "1"}),
    "connection's name": lambda: Connection.objects.filter(name="openai").update(name="OpenAI"),
    "retries": lambda: Connection.objects.filter(name="openai").update(retries=7),
    "parameters": lambda: Connection.objects.filter(name="openai").update(extra_parameters=["mirostat"]),
    "authority": lambda: Connection.objects.filter(name="openai").update(ca_certificate="PEM"),
    "health": lambda: Connection.objects.filter(name="openai").update(state="failing"),
    "credential": lambda: (one := Connection.objects.get(name="openai"), new_key(one), one.save()),
    "pause": lambda: Connection.objects.filter(name="openai").update(paused=True),
}


def parts(snapshot):
    return snapshot.keys, snapshot.users, snapshot.models, snapshot.routes, snapshot.adapters


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_made_anew_equals_what_is_made_from_nothing(company, change):
    change()

    second = build(company)

    assert parts(second) == parts(build(replace(Snapshot(), adapters=second.adapters)))
    assert parts(second) != parts(company)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_change_is_not_about_stays_the_same_thing(company, change):
    change()

    second = build(company)

    guests = next(entry for entry in second.keys.values() if entry.principal.label == "guests")
    assert any(guests is entry for entry in company.keys.values())
    model = second.models["anthropic/claude-sonnet-5-5"]
    assert model is company.models["anthropic/claude-sonnet-5-5"]
    assert second.routes["for-guests"].targets[0].model is model


def test_a_key_with_an_end_knows_it(company):
    ends = timezone.now() + timedelta(hours=1)
    ApiKey.objects.filter(name="staff").update(expires_at=ends)

    entry = next(entry for entry in build(company).keys.values() if entry.principal.label == "staff")

    assert (entry.expires_at, entry.expired) == (ends.timestamp(), False)


def test_more_rows_take_no_more_queries(company, connect):
    with CaptureQueriesContext(connection) as few:
        build(company)
    for number in range(5):
        keys.issue(User.objects.create_user(f"user{number}"), "one more", scopes=[Scope.GENERATE])
        model = connect("compatible", name=f"another{number}").models.get()
        Price.objects.create(model=model, amounts={"input": "1"})
        RouteTarget.objects.create(route=Route.objects.create(name=f"route{number}"), model=model)

    with CaptureQueriesContext(connection) as many:
        build(company)

    assert len(many) == len(few)
