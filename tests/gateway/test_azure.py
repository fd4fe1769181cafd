"""Azure OpenAI from our `/v1` to a deployment and back, by key, by token, and through a gateway of the customer's."""

import openai
import pytest

from access.models import EVERYONE
from connections.models import Model
from connections.providers.calls import Mode
from connections.providers.entra import MachineToken
from tests.gateway.contract import chat, check_refusal
from tests.mesh import make_connection
from tests.upstream.azure import GATEWAY, SUBSCRIPTION
from tests.upstream.faults import Fault
from tests.upstream.oauth import CLIENT, TOKEN

CHAT = "/v1/chat/completions"
MODELS = {
    "our-chat": (Mode.CHAT, "gpt-4o"),
    "our-embedder": (Mode.EMBEDDING, "text-embedding-3-small"),
    "our-painter": (Mode.IMAGE, "gpt-image-1"),
    "our-text": (Mode.COMPLETION, "gpt-35-turbo-instruct"),
}
WAYS = ["key", "v1", "entra", "gateway"]


@pytest.fixture(scope="module")
def azure(shared_mesh, upstream_server):
    """A connection for each way to sign in, named after it."""
    from django.contrib.auth.models import Group

    upstream, everyone = upstream_server, Group.objects.get(name=EVERYONE)
    endpoint = upstream.url("azure")
    entra = {"sign_in": "entra", "tenant_id": "post", "client_id": CLIENT, "authority": upstream.url("oauth")}
    settings = {
        "key": {"endpoint": endpoint},
        "v1": {"endpoint": endpoint, "style": "v1"},
        "entra": {"endpoint": endpoint, "scope": "api://mesh/.default", **entra},
        "gateway": {"endpoint": endpoint + GATEWAY, **entra, "correlation_header": "x-correlation-id"},
    }
    client = {"client_secret": upstream.key}
    secrets = {"entra": client, "gateway": client | {"secret_headers": {"Ocp-Apim-Subscription-Key": SUBSCRIPTION}}}
    modes = {name: mode for name, (mode, _) in MODELS.items()}
    for way in WAYS:
        made = make_connection(
            upstream, "azure", modes, everyone, name=way, kind="azure_openai", settings=settings[way],
            secrets=secrets.get(way, {"api_key": upstream.key}),
        )  # fmt: skip
        for name, (_, underlying) in MODELS.items():
            Model.objects.filter(connection=made, upstream_id=name).update(underlying=underlying)
    shared_mesh.refresh()
    return shared_mesh


@pytest.fixture
def client(azure, upstream):
    with openai.OpenAI(base_url=f"{azure.url}/v1", api_key=azure.key, max_retries=0, timeout=30) as made:
        yield made


def calls(upstream):
    return [request for request in upstream.requests if request.dialect == "azure"]


@pytest.mark.parametrize("way", WAYS)
def test_a_chat_is_answered(client, upstream, way):
    answer = client.chat.completions.create(
        model=f"{way}/our-chat", messages=[{"role": "user", "content": "one two"}], max_tokens=50
    )

    assert (answer.choices[0].message.content, answer.model) == ("one two", "gpt-4o-2024-08-06")
    [request] = calls(upstream)
    assert request.json["max_tokens"] == 50
    assert ("api-key" in request.headers) is (way in {"key", "v1"})
    assert ("authorization" in request.headers) is (way in {"entra", "gateway"})


@pytest.mark.parametrize("way", WAYS)
def test_a_chat_is_streamed_without_the_filters_own_chunks(client, upstream, way):
    stream = client.chat.completions.create(
        model=f"{way}/our-chat",
        messages=[{"role": "user", "content": "one two three"}],
        stream=True,
        stream_options={"include_usage": True},
    )

    chunks = list(stream)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    assert [chunk for chunk in chunks if not chunk.choices] == chunks[-1:]
    assert chunks[-1].usage.completion_tokens == 3


@pytest.mark.parametrize("way", ["key", "v1"])
def test_texts_pictures_and_vectors_come_from_their_deployments(client, upstream, way):
    vectors = client.embeddings.create(model=f"{way}/our-embedder", input=["a", "b"], dimensions=4)
    pictures = client.images.generate(model=f"{way}/our-painter", prompt="A fish", n=2, size="1024x1024")
    text = client.completions.create(model=f"{way}/our-text", prompt="once upon")

    assert [len(row.embedding) for row in vectors.data] == [4, 4]
    assert len(pictures.data) == 2
    assert pictures.data[0].b64_json
    assert text.choices[0].text == "once upon"


def test_a_picture_is_counted(azure, upstream):
    answer = azure.post("/v1/images/generations", {"model": "key/our-painter", "prompt": "A fish", "n": 2})

    assert answer.status == 200
    assert azure.usage(answer).images == 2


def test_our_id_joins_the_logs_of_the_gateway(azure, upstream):
    answer = azure.post(CHAT, chat() | {"model": "gateway/our-chat"})

    assert calls(upstream)[0].headers["x-correlation-id"] == answer.headers["x-request-id"]


def test_the_cost_is_that_of_the_model_behind_the_deployment(azure, upstream):
    row = azure.usage(azure.post(CHAT, chat() | {"model": "key/our-chat"}))

    assert row.cost > 0


def test_one_token_serves_many_calls_and_a_refused_one_is_renewed(azure, upstream):
    body = chat() | {"model": "entra/our-chat"}
    azure.post(CHAT, body)
    upstream.script(Fault.status(401))

    answers = [azure.post(CHAT, body) for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    asked = [request.dialect for request in upstream.requests]
    assert asked[-5:] == ["azure", "oauth", "azure", "azure", "azure"]
    assert upstream.requests[-1].headers["authorization"].startswith(f"Bearer {TOKEN}")


def test_a_token_that_azure_repeats_is_told_to_nobody(azure, upstream):
    azure.post(CHAT, chat() | {"model": "entra/our-chat"})
    upstream.script(Fault.echoes_key(400))

    answer = azure.post(CHAT, chat() | {"model": "entra/our-chat"})

    assert "Incorrect API key provided" in answer.error["message"]
    row = azure.usage(answer)
    written = {field.name: getattr(row, field.name) for field in row._meta.fields}
    assert TOKEN not in f"{answer.body!r} {written}"


def test_a_filtered_prompt_is_the_callers_to_mend(azure, upstream):
    body = b'{"error": {"code": "content_filter", "message": "The prompt was filtered.", "param": "prompt"}}'
    upstream.script(Fault.body(body, status=400))

    answer = azure.post(CHAT, chat() | {"model": "key/our-chat"})

    check_refusal(answer, 400, "content_filter")
    assert "The prompt was filtered." in answer.error["message"]


def test_a_deployment_that_does_not_exist_is_named(azure, upstream):
    Model.objects.filter(public_id="key/our-text").update(upstream_id="gone")
    azure.refresh()
    try:
        answer = azure.post("/v1/completions", {"model": "key/our-text", "prompt": "a"})
    finally:
        Model.objects.filter(public_id="key/our-text").update(upstream_id="our-text")
        azure.refresh()

    assert answer.status >= 400
    assert "does not know this model" in answer.error["message"]


async def test_a_machine_asks_for_its_own_token(upstream, monkeypatch):
    from connections import runtime
    from connections.exchange import Exchange
    from connections.providers import ambient
    from connections.transport import NetworkOptions, Timeouts
    from tests.connections.test_oauth import Guarded, a_call

    monkeypatch.setattr(ambient, "allowed", {"azure"})
    upstream.script(Fault.body(f'{{"access_token": "{TOKEN}machine", "expires_in": "86399"}}'.encode()))
    auth = MachineToken("https://cognitiveservices.azure.com/.default", "id-1", url=upstream.url("oauth") + "/identity")
    exchange = Exchange(await runtime.transport(), Guarded(upstream.url("guarded"), auth), NetworkOptions(), Timeouts())

    assert b"one two" in (await exchange.ask(a_call())).body

    asked = upstream.requests[0]
    assert (asked.method, asked.headers["metadata"]) == ("GET", "true")
    assert asked.path == (
        "/oauth/identity?api-version=2018-02-01&resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=id-1"
    )


# --- the judge -------------------------------------------------------------------------------------------


@pytest.mark.proves(kind="azure_openai", mode="chat", by="official SDK")
def test_the_official_client_asks_azure_as_we_do(azure, client, upstream):
    """The fake Azure takes the official client's request; ours is the same, but for what the client says of itself."""
    asked = {"messages": [{"role": "user", "content": "one two"}], "temperature": 0.5}
    with openai.AzureOpenAI(
        azure_endpoint=upstream.url("azure"), api_key=upstream.key, api_version="2024-10-21", max_retries=0
    ) as official:
        official.chat.completions.create(model="our-chat", **asked)
        official.embeddings.create(model="our-embedder", input=["a"], encoding_format="float")
    client.chat.completions.create(model="key/our-chat", **asked)
    client.embeddings.create(model="key/our-embedder", input=["a"], encoding_format="float")

    theirs, ours = calls(upstream)[:2], calls(upstream)[2:]
    for one, other in zip(theirs, ours, strict=True):
        assert (one.method, one.path, one.json) == (other.method, other.path, other.json)
        assert one.headers["api-key"] == other.headers["api-key"]
        assert one.headers["content-type"] == other.headers["content-type"]
