"""The audit log: one row per act, in the act's own transaction."""

from datetime import UTC, datetime

import pytest
from django.db import transaction

from access import audit, services
from access.models import AuditEvent, ConfigurationVersion, User
from connections.models import Grant


@pytest.fixture
def auditor(oscar, signed_in):
    return signed_in(oscar)


@pytest.mark.django_db(transaction=True)
def test_an_act_outside_a_transaction_cannot_be_recorded():
    with pytest.raises(RuntimeError):
        audit.record(None, "nothing.happened")


@pytest.mark.django_db(transaction=True)
def test_no_row_no_change(monkeypatch, db):
    """Whatever stops the row stops the change with it."""
    ada = User.objects.create(username="ada", role="admin")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        services.create_group(ada, "Finance")
        raise ZeroDivisionError

    assert not AuditEvent.objects.exists()
    assert not ada.groups.model.objects.filter(name="Finance").exists()


def test_a_change_moves_the_configuration_and_a_sign_in_does_not(ada):
    services.create_group(ada, "Finance")
    number = ConfigurationVersion.objects.get().number

    services.start_session(ada)

    assert ConfigurationVersion.objects.get().number == number
    services.create_group(ada, "Sales")
    assert ConfigurationVersion.objects.get().number == number + 1


def at(hour: int, action: str, actor: str = "ada", label: str = "") -> AuditEvent:
    return AuditEvent.objects.create(
        at=datetime(2026, 1, 1, hour, tzinfo=UTC), actor_label=actor, action=action, object_label=label
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["key.created", "user.changed", "user.created"]),
        ({"actor": "BOB"}, ["user.changed"]),
        ({"action": "user."}, ["user.changed", "user.created"]),
        ({"object": "billing"}, ["key.created"]),
        ({"since": "2026-01-01T02:00"}, ["key.created", "user.changed"]),
        ({"until": "2026-01-01T02:00"}, ["user.created"]),
        ({"object": "%"}, []),
        ({"actor__password": "x", "before__icontains": "x"}, ["key.created", "user.changed", "user.created"]),
    ],
)
def test_the_log_is_filtered(auditor, query, expected):
    at(1, "user.created")
    at(2, "user.changed", "bob")
    at(3, "key.created", label="billing service")

    rows = auditor.get("/audit/", query).context["page"].rows

    assert [row.action for row in rows] == expected


@pytest.mark.parametrize("query", [{"since": "soon"}, {"since": "10000-01-01"}])
def test_a_filter_that_makes_no_sense_is_named(auditor, query):
    response = auditor.get("/audit/", query)

    assert response.status_code == 200
    assert "field-error" in response.content.decode()


def test_before_and_after_are_shown(auditor, ada, alice):
    services.update_user(ada, alice, email=alice.email, role="operator", groups=[], is_active=True)

    page = auditor.get("/audit/").content.decode()

    assert "<del>analyst</del>" in page and "<ins>operator</ins>" in page


def test_the_log_pages_by_key(auditor):
    AuditEvent.objects.bulk_create([AuditEvent(actor_label="ada", action=f"act.{number}") for number in range(120)])

    first = auditor.get("/audit/").context["page"]
    at(1, "act.new")
    second = auditor.get("/audit/", {"after": first.after}).context["page"]

    assert first.rows[-1].pk == second.rows[0].pk + 1


def test_the_audit_log_survives_its_actor(ada, oscar, signed_in):
    services.create_group(ada, "Finance")
    ada.delete()

    assert signed_in(oscar).get("/audit/").context["page"].rows[0].actor_label == "ada"


def test_a_grant_has_a_readable_name(model):
    assert str(Grant.objects.get()) == "Analysts → main/chat"
