"""A connection may work with the credential that another one lends: what is kept, refused, shown and passed on."""

import json
from datetime import timedelta
from html import unescape

import pytest
from django.urls import reverse
from django.utils import timezone

from access.models import AuditEvent
from connections import services
from connections.account import SettingsRefused, settle
from connections.models import Connection, NotLent
from connections.providers import registry
from connections.providers.aws import NO_KEYS, NO_KEYS_OF_ITS_OWN
from connections.providers.parameters import COMMON
from connections.services import ModelChoice
from connections.tasks import check_connection
from connections.views.detail import TABS
from gateway.snapshot import Snapshot
from gateway.snapshots import build
from playground.catalogue import Choice
from tests.canary import database_dump, leaks
from tests.upstream import sigv4

LENDER, BORROWER = registry.providers()["aws_credential"], registry.providers()["bedrock"]
KEYS = {"access_key_id": sigv4.KEY_ID, "secret_access_key": sigv4.SECRET}
REGION = {"region": "us-east-1"}
NOVA = "amazon.nova-lite-v1:0"


@pytest.fixture
def lender(ada):
    return services.create_connection(ada, settle(LENDER, REGION, KEYS), {"name": "Shared keys"})


@pytest.fixture
def borrower(ada, lender):
    account = settle(BORROWER, {**REGION, "credential": str(lender.pk)}, {})
    return services.create_connection(ada, account, {"name": "Bedrock"}, models=[ModelChoice(NOVA)])


def change(actor, connection, **changes):
    row = Connection.objects.get(pk=connection.pk)
    return services.update_connection(actor, row, revision=row.revision, **changes)


def test_the_borrower_signs_with_the_lenders_keys_and_stores_none(lender, borrower):
    provider = borrower.provider()

    assert f"Credential={sigv4.KEY_ID}/" in provider.auth.sign(provider.check()).headers["Authorization"]
    assert set(provider.secrets()) == set(KEYS.values())
    assert dict(borrower.credential()) == {}
    assert leaks(database_dump(), KEYS.values()) == []


@pytest.mark.parametrize("given", ["not-an-id", "00000000-0000-4000-8000-000000000000", "", "borrower"])
def test_only_a_connection_of_the_right_kind_can_lend(borrower, given):
    given = str(borrower.pk) if given == "borrower" else given

    with pytest.raises(SettingsRefused) as refusal:
        settle(BORROWER, {**REGION, "credential": given}, {})

    assert list(refusal.value.message_dict) == (["credential"] if given else ["__all__"])


def test_an_id_is_kept_in_one_spelling(lender):
    for given in (str(lender.pk).upper(), lender.pk.hex, f"{{{lender.pk}}}"):
        assert settle(BORROWER, {**REGION, "credential": given}, {}).settings["credential"] == str(lender.pk)


def test_a_paused_lender_lends_nothing_and_the_borrower_says_so(ada, lender, borrower):
    Connection.objects.update(check_due=timezone.now() + timedelta(hours=1))

    services.set_paused(ada, lender, True)

    with pytest.raises(NotLent, match="“Shared keys” is paused"):
        borrower.provider()
    borrower.refresh_from_db()
    assert borrower.check_due <= timezone.now()
    check_connection(str(borrower.pk))
    borrower.refresh_from_db()
    assert borrower.state == "failing"
    assert "“Shared keys” is paused. Resume it, or choose another one." in borrower.cause
    with pytest.raises(SettingsRefused, match="is paused"):
        settle(BORROWER, {**REGION, "credential": str(lender.pk)}, {})


def test_a_lender_that_cannot_be_read_is_named_at_the_borrower(lender, borrower):
    Connection.objects.filter(pk=lender.pk).update(sealed=b"nonsense")

    with pytest.raises(services.Unusable, match="“Shared keys” cannot be used"):
        services.provider_of(borrower)


def test_a_lender_in_use_is_not_deleted(ada, lender, borrower):
    with pytest.raises(services.InUse, match="lends its credential to Bedrock"):
        services.delete_connection(ada, lender)

    assert Connection.objects.filter(pk=lender.pk).exists()
    assert not AuditEvent.objects.filter(action="connection.deleted").exists()
    assert services.consequences(lender).borrowers == ["Bedrock"]
    services.delete_connection(ada, borrower)
    services.delete_connection(ada, lender)
    assert not Connection.objects.exists()


# --- what the gateway sees -------------------------------------------------------------------------------


def test_a_change_of_the_lender_reaches_the_borrower(ada, lender, borrower):
    before = build(Snapshot())
    assert build(before).adapters[borrower.pk] is before.adapters[borrower.pk]

    change(ada, lender, typed={"secret_access_key": "another/Secret+4LmB1Qe2ZkV9tXw7rTyUiOpA"})

    after = build(before)
    entry = next(iter(after.models.values()))
    assert after.version > before.version
    assert "another/Secret+4LmB1Qe2ZkV9tXw7rTyUiOpA" in entry.provider.secrets()
    assert sigv4.SECRET not in entry.provider.secrets()


def test_without_its_lender_the_borrower_answers_nobody(ada, lender, borrower):
    before = build(Snapshot())
    assert len(before.models) == 1

    services.set_paused(ada, lender, True)

    assert not build(before).models
    services.set_paused(ada, lender, False)
    assert len(build(before).models) == 1


# --- pages and API ---------------------------------------------------------------------------------------


@pytest.fixture
def show(client, ada):
    """`show(path)` or `show(path, post=…)`: what the browser shows in the end."""
    client.force_login(ada)

    def get_or_post(path, post=None, status=200):
        response = client.get(path, follow=True) if post is None else client.post(path, post, follow=True)
        assert response.status_code == status
        return unescape(response.content.decode())

    return get_or_post


def typed(name, **settings):
    options = {"name": name, "check_every": 60, "slow_after_ms": 2000, "retries": 2}
    return options | {f"settings-{name}": value for name, value in settings.items()}


def test_the_wizard_of_a_lender_ends_with_its_credentials(show):
    page = show("/connections/new/aws_credential/")
    assert "Model for one short call" not in page
    assert "Models</li>" not in page
    assert "check each model" not in page

    saved = show("/connections/new/aws_credential/", typed("Keys", **REGION, **KEYS, role_seconds=3600))

    assert "Keys is saved" in saved
    assert "no connection yet" in saved
    assert "No model is allowed yet" not in saved
    assert "One short call to" not in saved
    assert ">Access</a>" not in saved
    assert "nobody" not in show("/connections/")
    assert sigv4.SECRET not in saved
    assert Connection.objects.get().kind == "aws_credential"


@pytest.mark.parametrize("step", ["models", "access"])
def test_the_wizard_of_a_lender_has_no_further_steps(show, step):
    show(f"/connections/new/aws_credential/{step}/", status=404)


@pytest.mark.parametrize("tab", [name for name, _ in TABS] + ["connection-delete", "connection-models-add"])
def test_every_page_of_a_lender_opens(show, lender, tab):
    assert "Shared keys" in show(reverse(tab, args=[lender.pk]))


def test_what_is_missing_is_said_above_the_form(show):
    typed_in = typed("Bedrock", **REGION, role_seconds=3600, guardrail_version="DRAFT", guardrail_trace="disabled")

    assert NO_KEYS in show("/connections/new/bedrock/", typed_in, status=422)


def test_a_lender_without_keys_is_not_told_to_borrow(show):
    page = show("/connections/new/aws_credential/", typed("Keys", **REGION, role_seconds=3600), status=422)

    assert NO_KEYS_OF_ITS_OWN in page
    assert "check each model" not in page


def test_the_form_offers_the_connections_that_can_lend(show, ada, lender):
    services.create_connection(ada, settle(LENDER, REGION, KEYS), {"name": "Resting"}, paused=True)

    page = show("/connections/new/bedrock/")

    assert f'<option value="{lender.pk}">Shared keys</option>' in page
    assert "Resting (paused)</option>" in page


def test_pages_name_lender_and_borrower(show, lender, borrower):
    assert "Shared keys" in show(reverse("connection", args=[borrower.pk]))
    assert str(lender.pk) not in show(reverse("connection", args=[borrower.pk]))
    assert "Bedrock</a>" in show(reverse("connection", args=[lender.pk]))
    page = show(reverse("connection-edit", args=[borrower.pk]))
    assert f'<option value="{lender.pk}" selected>Shared keys</option>' in page


def test_the_page_to_delete_a_lender_says_who_needs_it(show, lender, borrower):
    path = reverse("connection-delete", args=[lender.pk])

    assert "lends its credential to Bedrock" in show(path)
    assert "Give them another one first" in show(path, {"confirmation": "Shared keys"}, status=422)
    assert Connection.objects.filter(pk=lender.pk).exists()


def test_a_page_says_that_a_connection_uses_this_machines_identity(show, ada, host_identity):
    account = settle(BORROWER, REGION, {})
    connection = services.create_connection(ada, account, {"name": "By role"})

    assert "this machine's own" in show(reverse("connection", args=[connection.pk]))


def test_a_page_says_nothing_of_it_where_there_are_keys(show, lender, borrower, host_identity):
    for connection in (lender, borrower):
        assert "this machine's own" not in show(reverse("connection", args=[connection.pk]))


@pytest.fixture
def host_identity():
    from connections.providers import ambient

    ambient.allow(["aws"])
    yield
    ambient.allow([])


def test_the_api_takes_the_lenders_id(client, ada, key_for, lender):
    headers = {"authorization": f"Bearer {key_for(ada)}"}
    asked = {"name": "B", "kind": "bedrock", "settings": {**REGION, "credential": str(lender.pk)}}

    made = client.post("/api/connections/", json.dumps(asked), content_type="application/json", headers=headers)
    refused = client.delete(f"/api/connections/{lender.pk}/", headers=headers)
    asked["settings"]["credential"] = "00000000-0000-4000-8000-000000000000"
    unknown = client.post("/api/connections/", json.dumps(asked), content_type="application/json", headers=headers)

    assert made.status_code == 201
    assert made.json()["settings"]["credential"] == str(lender.pk)
    assert refused.status_code == 409
    assert "lends its credential to B" in refused.json()["error"]["message"]
    assert unknown.status_code == 400
    assert unknown.json()["error"]["param"] == "settings.credential"


def test_the_playground_knows_the_usual_parameters_while_a_lender_is_paused(ada, lender, borrower):
    services.set_paused(ada, lender, True)

    choice = Choice([borrower.models.get()], "paused")

    usual = [name for name in COMMON if BORROWER.parameters.takes(name)]
    assert usual
    assert [name for name in usual if choice.takes(name)] == usual
