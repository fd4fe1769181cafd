"""A Databricks workspace from our `/v1`: by token and as a service principal, whole and streamed."""

import openai
import pytest

from access.models import EVERYONE
from connections.providers.calls import Mode
from tests.mesh import make_connection
from tests.upstream.oauth import CLIENT

MODELS = {
    "databricks-claude-sonnet-5": Mode.CHAT,
    "databricks-bge-large-en": Mode.EMBEDDING,
    "our-text": Mode.COMPLETION,
}
WAYS = {"token": {}, "principal": {"sign_in": "oauth", "client_id": CLIENT, "route": "invocations"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"properties": {"a": {"const": 7}}}}}


@pytest.fixture(scope="module")
def workspace(shared_mesh, upstream_server):
    """A connection for each way to sign in, named after it."""
    from django.contrib.auth.models import Group

    everyone = Group.objects.get(name=EVERYONE)
    secrets = {"token": "access_token", "principal": "client_secret"}
    for way, settings in WAYS.items():
        make_connection(
            upstream_server, "databricks", MODELS, everyone, name=way, kind="databricks",
            settings={"workspace_url": upstream_server.url("databricks"), **settings},
            secrets={secrets[way]: upstream_server.key},
        )  # fmt: skip
    shared_mesh.refresh()
    return shared_mesh


@pytest.fixture
def client(workspace, upstream):
    with openai.OpenAI(base_url=f"{workspace.url}/v1", api_key=workspace.key, max_retries=0, timeout=30) as made:
        yield made


def said(text):
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_answered_with_its_reasoning_apart(client, way, stream):
    answer = client.chat.completions.create(
        model=f"{way}/databricks-claude-sonnet-5", messages=said("one two"), stream=stream
    )

    parts = [chunk.choices[0].delta for chunk in answer] if stream else [answer.choices[0].message]
    assert "".join(part.content or "" for part in parts) == "one two"
    assert "".join(getattr(part, "reasoning_content", None) or "" for part in parts).startswith("Hm.")


def test_an_answer_that_follows_a_format_comes_in_one_piece(client, workspace):
    body = {"model": "token/databricks-claude-sonnet-5", "messages": said("a"), "response_format": FORMAT}

    answer = workspace.post("/v1/chat/completions", body | {"stream": True})

    assert answer.text.replace(" ", "") == '{"a":7}'
    assert "stream answered whole" in answer.headers["x-mesh-adjusted"]


@pytest.mark.parametrize("way", WAYS)
def test_many_texts_are_embedded_in_their_order(client, upstream, way):
    texts = [f"text {number}" for number in range(151)]

    many = client.embeddings.create(model=f"{way}/databricks-bge-large-en", input=texts)
    last = client.embeddings.create(model=f"{way}/databricks-bge-large-en", input=texts[-1:])

    assert len(many.data) == 151
    assert many.data[150].embedding == last.data[0].embedding
    assert many.usage.prompt_tokens == 302


@pytest.mark.parametrize("way", WAYS)
def test_a_text_is_completed(client, way):
    assert client.completions.create(model=f"{way}/our-text", prompt="once upon").choices[0].text == "once upon"
