"""Connections to Google: a secret of many lines from the form to the wire, checks, and lists of models."""

import json

import pytest

from connections import health, runtime, services
from connections.account import SettingsRefused, settle
from connections.forms import SettingsForm
from connections.health import stages
from connections.models import Connection
from connections.providers import registry
from connections.providers.calls import Mode
from connections.providers.errors import KeyRefused
from connections.transport import NetworkOptions
from tests.canary import database_dump, leaks
from tests.upstream.google_identity import ACCOUNT, KEY_ID, USER, file_of

VERTEX = registry.providers()["vertex"]
SECRETS = [ACCOUNT["private_key"].splitlines()[3], KEY_ID]
"""One line of the key stands for all: looking for each takes long."""


def settings(upstream):
    urls = {"base_url": upstream.url("vertex"), "sign_in_url": f"{upstream.url('google_identity')}/token"}
    return {**urls, "location": "us-central1", "project": "mesh-tests-1234"}


@pytest.fixture
def vertex(upstream):
    """`vertex(text)` is the provider with this JSON, talking to the upstream."""
    return lambda text: settle(VERTEX, settings(upstream), {"credentials": text}).provider()


# --- the form --------------------------------------------------------------------------------------------


def test_a_key_file_is_pasted_into_a_text_area_and_never_shown_again():
    pasted = {"settings-credentials": file_of().replace("\n", "\r\n"), "settings-location": "nowhere"}

    def form_of(data):
        return SettingsForm(VERTEX, lambda given, typed: settle(VERTEX, given, typed), data)

    refused = form_of({**pasted, "settings-sign_in": "credentials", "settings-claude_version": "vertex-2023-10-16"})
    assert list(refused.errors) == ["location"]
    assert "<textarea" in str(refused["credentials"])
    assert leaks(str(refused).encode(), SECRETS) == []
    taken = form_of({**refused.data, "settings-location": "europe-west4"})
    assert taken.is_valid(), taken.errors
    assert json.loads(taken.account.secrets["credentials"]) == ACCOUNT
    assert leaks(json.dumps(taken.account.settings).encode(), SECRETS) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (file_of(type="external_account"), "points to other addresses or programs"),
        (file_of(token_uri="https://evil.test/token"), "token_uri is not Google's"),
        (file_of() + "x" * 65_536, "at most 65536 characters"),
        (file_of(project_id="\u202eevil"), "project_id has letters that do not belong there"),
        ("{}\x07", "control character"),
        ("🐟", "plain letters"),
    ],
)
def test_bad_credentials_are_refused_beside_their_field(upstream, text, sentence):
    """Bad inputs 121 and 123."""
    with pytest.raises(SettingsRefused, match=sentence) as refusal:
        settle(VERTEX, settings(upstream), {"credentials": text})

    assert list(refusal.value.message_dict) == ["credentials"]
    assert leaks(str(refusal.value).encode(), SECRETS) == []


@pytest.mark.parametrize("name", ["location", "project", "base_url", "sign_in_url"])
def test_a_changed_place_demands_the_credentials_again(upstream, name):
    sent_to = settings(upstream)
    moved = {"location": "europe-west4", "project": "other-project-1"}.get(name, upstream.url("vertex") + "/other")

    with pytest.raises(SettingsRefused) as refusal:
        settle(VERTEX, {**sent_to, name: moved}, {}, stored={"credentials": file_of()}, sent_to=sent_to)

    assert list(refusal.value.message_dict) == ["credentials"]


def test_nothing_of_the_key_file_stands_in_the_database(db, upstream, admin_user):
    account = settle(VERTEX, settings(upstream), {"credentials": file_of()})

    services.create_connection(admin_user, account, {"name": "Vertex"})

    assert leaks(database_dump(), SECRETS) == []


def test_the_api_takes_a_key_file_and_shows_nothing_of_it(client, key_for, ada, upstream):
    body = {"name": "Vertex", "kind": "vertex", "settings": settings(upstream), "secrets": {"credentials": file_of()}}
    sent = {"content_type": "application/json", "headers": {"authorization": f"Bearer {key_for(ada, None)}"}}

    made = client.post("/api/connections/", json.dumps(body), **sent)
    refused = client.post("/api/connections/", json.dumps({**body, "secrets": {"credentials": "{}"}}), **sent)

    assert (made.status_code, made.json()["secrets_stored"]) == (201, ["credentials"])
    assert json.loads(Connection.objects.get().credential()["credentials"]) == ACCOUNT
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "secrets.credentials")
    assert leaks(made.content + refused.content, SECRETS) == []


# --- checks and lists ------------------------------------------------------------------------------------


async def test_the_test_button_signs_in_counts_tokens_and_lists(vertex, upstream):
    found = [
        stage async for stage in stages.staged_test(await runtime.transport(), vertex(file_of()), NetworkOptions())
    ]

    assert [(stage.name, stage.detail) for stage in found if stage.ok][1:] == [
        ("Sign-in", "Accepted"),
        ("Model list", "6 models"),
    ]
    assert [f"{request.method} {request.route.rpartition('/')[2]}" for request in upstream.requests] == [
        "POST token",
        "POST gemini-3.8-flash:countTokens",
        "GET endpoints",
        "GET models",
        "GET models",
    ]


async def test_endpoints_and_models_are_offered(vertex, upstream):
    found = await health.discover(await runtime.transport(), vertex(json.dumps(USER)), NetworkOptions())

    assert [(info.id, info.mode, info.label) for info in found][:3] == [
        ("endpoints/1234567890", Mode.CHAT, "Support (Tuned Gemini)"),
        ("gemini-3.8-flash", Mode.CHAT, "Gemini 3.8 Flash"),
        ("gemini-2.5-flash", Mode.CHAT, "Gemini 2.5 Flash"),
    ]


async def test_the_list_of_the_developer_api_is_read_to_its_end(upstream):
    kind = registry.providers()["gemini"]
    account = settle(kind, {"base_url": upstream.url("gemini")}, {"api_key": upstream.key})

    found = await health.discover(await runtime.transport(), account.provider(), NetworkOptions())

    assert [(info.id, info.mode) for info in found] == [
        ("gemini-3.8-flash", Mode.CHAT),
        ("gemini-2.5-flash", Mode.CHAT),
        ("gemini-3-pro-image", Mode.IMAGE),
        ("gemini-embedding-2", Mode.EMBEDDING),
        ("text-embedding-005", Mode.EMBEDDING),
    ]


async def test_a_revoked_sign_in_says_what_to_do(vertex):
    revoked = json.dumps({**USER, "refresh_token": "1//0revoked-canary-vTzB4kWs1RcY6pHd8"})

    with pytest.raises(KeyRefused, match="expired or was revoked") as refusal:
        await health.discover(await runtime.transport(), vertex(revoked), NetworkOptions())

    assert "Token has been expired or revoked." in refusal.value.evidence


async def test_a_wrong_key_is_told_at_sign_in(upstream):
    kind = registry.providers()["gemini"]
    account = settle(kind, {"base_url": upstream.url("gemini")}, {"api_key": "AIza-wrong-canary-key-0123456789"})

    with pytest.raises(KeyRefused) as refusal:
        await health.discover(await runtime.transport(), account.provider(), NetworkOptions())

    assert "AIza-wrong" not in f"{refusal.value} {refusal.value.evidence}"
