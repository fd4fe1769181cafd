"""Engines on their connection's page and in the API; no engine needs to run for it."""

import json
import re

import pytest
from django.utils import timezone

from access.models import AuditEvent, User
from access.roles import Role
from connections import services
from connections.account import settle
from connections.models import Connection, Engine, EngineState
from connections.providers import registry
from connections.providers.deployed import deployed
from connections.providers.errors import EngineStopped

PARAMETERS = [
    {"name": "max_new_tokens", "kind": "integer", "default": 128, "choices": []},
    {"name": "temperature", "kind": "number", "default": 1.0, "choices": []},
    {"name": "mood", "kind": "string", "default": "calm", "choices": ["calm", "wild"]},
    {"name": "careful", "kind": "boolean", "default": None, "choices": []},
]
CANARY = "py-secret-Rw20VnXc77LqMe13TzKa"


@pytest.fixture
def connection(ada):
    kind = registry.providers()["python_class"]
    settings = {"class_name": "tests.engines.fish:Fish", "model_id": "fish"}
    account = settle(kind, settings, {"secret_arguments": {"secret": CANARY}})
    return services.create_connection(ada, account, {"name": "Fish"})


def engine_of(connection: Connection, **facts) -> Engine:
    row, _ = Engine.objects.update_or_create(connection=connection, defaults={"seen_at": timezone.now(), **facts})
    return row


@pytest.fixture
def page(client):
    def get(user, path, post=None, status=200, **headers):
        client.force_login(user)
        ask = client.get if post is None else client.post
        response = ask(path, *([] if post is None else [post]), headers=headers, follow=True)
        assert response.status_code == status
        assert CANARY not in response.content.decode()
        return response.content.decode()

    return get


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"state": EngineState.LOADING, "percent": 40}, "Loading 40 %"),
        ({"state": EngineState.RUNNING, "described": [{"id": "fish"}]}, "Running"),
        ({"state": EngineState.FAILED, "reason": "There is no tiny-llama in /models."}, "There is no tiny-llama in"),
        ({"state": EngineState.STOPPED}, "Stopped, starts soon"),
        ({"state": EngineState.RUNNING, "wanted": False}, "Running, stops"),
        ({"state": EngineState.STOPPED, "seen_at": None}, "No process runs engines at the moment."),
    ],
)
def test_the_page_says_how_the_engine_fares(page, ada, connection, facts, expected):
    engine_of(connection, **facts)

    assert expected in page(ada, f"/connections/{connection.pk}/")
    assert expected in page(ada, f"/connections/{connection.pk}/engine/", **{"HX-Request": "true"})


def test_the_card_asks_again_only_while_something_is_under_way(page, ada, connection):
    path = f"/connections/{connection.pk}/"
    assert 'hx-trigger="every' in page(ada, path)
    engine_of(connection, state=EngineState.LOADING)
    assert 'hx-trigger="every' in page(ada, path)
    engine_of(connection, state=EngineState.RUNNING)
    assert 'hx-trigger="every' not in page(ada, path)


def test_neither_address_nor_key_is_shown_anywhere(page, client, ada, key_for, connection):
    row = engine_of(connection, state=EngineState.RUNNING, address="http://127.0.0.1:45678", log="a line")
    key = row.new_key()
    row.save()

    headers = {"authorization": f"Bearer {key_for(ada)}"}
    texts = [page(ada, f"/connections/{connection.pk}/{tab}") for tab in ("", "edit/", "history/", "health/")]
    for path in (f"/api/connections/{connection.pk}/", f"/api/connections/{connection.pk}/engine/"):
        texts.append(client.get(path, headers=headers).content.decode())

    assert connection.provider().place.key == key
    assert all(key not in text and "45678" not in text for text in texts)


def test_start_and_stop_are_wishes_that_are_audited(page, ada, connection):
    path = f"/connections/{connection.pk}/engine"

    assert "The engine of Fish stops" in page(ada, f"{path}/stop/", {})
    assert not Engine.objects.get().wanted
    assert "starts within seconds" in page(ada, f"{path}/start/", {})

    row = Engine.objects.get()
    assert (row.wanted, row.starts) == (True, 1)
    assert set(AuditEvent.objects.values_list("action", flat=True)) >= {"engine.stopped", "engine.started"}


def test_an_analyst_and_an_auditor_start_nothing(page, connection, db):
    for role in (Role.ANALYST, Role.AUDITOR):
        user = User.objects.create_user(f"one-{role}", role=role)
        page(user, f"/connections/{connection.pk}/engine/start/", {}, status=403)
    assert not Engine.objects.exists()


def test_the_log_is_for_those_who_may_test_connections(page, client, key_for, ada, connection):
    engine_of(connection, log="a line of its log")
    auditor = User.objects.create_user("auditor", role=Role.AUDITOR)

    assert "a line of its log" in page(ada, f"/connections/{connection.pk}/")
    assert "a line of its log" not in page(auditor, f"/connections/{connection.pk}/")
    for user, expected in ((ada, "a line of its log"), (auditor, "")):
        headers = {"authorization": f"Bearer {key_for(user)}"}
        answer = client.get(f"/api/connections/{connection.pk}/engine/", headers=headers)
        assert answer.json()["log"] == expected


def test_runtime_parameters_are_a_form_made_from_the_signature(page, ada, connection):
    engine_of(connection, state=EngineState.RUNNING, described=[{"id": "fish", "parameters": PARAMETERS}])
    path = f"/connections/{connection.pk}/engine/parameters/"
    text = page(ada, path)
    assert 'type="number"' in text and "Default: 128." in text and '<option value="wild">' in text

    refused = {"parameter-max_new_tokens": "many", "parameter-mood": "sad"}
    assert "Enter a whole number" in page(ada, path, refused, status=422)

    filled = {"parameter-max_new_tokens": "7", "parameter-mood": "wild", "parameter-careful": "true"}
    page(ada, path, filled)
    connection.refresh_from_db()
    assert connection.settings["runtime_parameters"] == {"max_new_tokens": "7", "mood": "wild", "careful": "true"}
    assert connection.credential()["secret_arguments"] == {"secret": CANARY}
    page(ada, path, {})
    connection.refresh_from_db()
    assert connection.settings["runtime_parameters"] == {}


def test_parameters_are_unknown_before_the_class_runs(page, ada, connection):
    assert "is known once the engine runs" in page(ada, f"/connections/{connection.pk}/engine/parameters/")


def test_a_connection_without_an_engine_has_no_card(page, client, key_for, ada):
    kind = registry.providers()["openai"]
    account = settle(kind, {}, {"api_key": CANARY})
    other = services.create_connection(ada, account, {"name": "Hosted"})

    assert 'id="engine"' not in page(ada, f"/connections/{other.pk}/")
    page(ada, f"/connections/{other.pk}/engine/start/", {}, status=404)
    headers = {"authorization": f"Bearer {key_for(ada)}"}
    assert client.post(f"/api/connections/{other.pk}/engine/start/", headers=headers).status_code == 404


def test_the_api_can_do_what_the_page_can(client, key_for, ada, connection):
    headers = {"authorization": f"Bearer {key_for(ada)}"}
    path = f"/api/connections/{connection.pk}/engine/"

    assert client.get(path, headers=headers).json()["state"] == "stopped"
    assert client.post(f"{path}stop/", headers=headers).json()["wanted"] is False
    started = client.post(f"{path}start/", headers=headers).json()
    assert (started["wanted"], started["is_watched"]) == (True, False)


def test_the_wizard_offers_the_models_of_the_settings(page, client, ada, db):
    new = "/connections/new/transformers/"
    typed = {"name": "Tiny", "settings-folder": "chat/tiny-llama", "settings-dtype": "auto", "settings-device": "auto"}
    typed |= {"check_every": "60", "slow_after_ms": "2000", "retries": "2"}

    text = page(ada, new, typed)

    assert "tiny-llama" in text and "Which models may be used?" in text
    assert text.count('name="offered"') == 3


def test_the_form_offers_the_listed_classes_alone(page, ada, db):
    text = page(ada, "/connections/new/python_class/")
    offered = re.findall(r'<option value="([^"]*:[^"]*)"', text)
    typed = {"name": "Evil", "check_every": "60", "slow_after_ms": "2000", "retries": "2", "settings-at_once": "1"}

    assert offered == list(deployed.classes)
    assert "The engine starts when the connection is saved" in text
    assert "billed by the provider" not in text
    refused = page(ada, "/connections/new/python_class/", {**typed, "settings-class_name": "os:system"}, status=422)
    assert "os:system is not one of the available choices" in refused


def test_a_test_before_the_engine_runs_says_what_to_do(client, key_for, ada, connection):
    headers = {"authorization": f"Bearer {key_for(ada)}"}

    stages = client.post(
        f"/api/connections/{connection.pk}/test/", json.dumps({}), content_type="application/json", headers=headers
    ).json()

    assert stages[0]["detail"].startswith("The engine of this Python class connection is not running.")
    assert "Start it on the connection's page." in stages[0]["detail"]


def test_a_moved_ciphertext_opens_nothing(ada, connection):
    row = engine_of(connection, address="http://127.0.0.1:1")
    row.new_key()
    row.save()
    twin = services.create_connection(ada, services.stored_account(connection), {"name": "Twin"})
    Engine.objects.create(connection=twin, address="http://127.0.0.1:1", sealed=row.sealed)

    assert connection.provider().place is not None
    with pytest.raises(Exception, match="does not belong to this row"):
        twin.provider()
    with pytest.raises(EngineStopped):
        connection.provider().at(None).check()
