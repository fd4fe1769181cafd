"""Azure LLM: what a Target URI is called with, where its key may go, and input that it refuses."""

import json

import pytest
from pydantic import ValidationError

from connections.providers import errors
from connections.providers.azure_llm import AzureLLM, check_url, operation_url
from connections.providers.calls import Answer, Call, Mode, Outgoing, Target
from tests.providers.conftest import a_call, make

KIND = "azure_llm"
ML, FOUNDRY = "https://e.eastus2.models.ai.azure.com", "https://r.services.ai.azure.com"
OPENAI = "https://r.openai.azure.com/openai/deployments/d"
ONLINE = "https://e.eastus2.inference.ml.azure.com"
VERSION = "api-version=2024-05-01-preview"


@pytest.mark.parametrize(
    ("uri", "chat", "embeddings"),
    [
        (ML, f"{ML}/v1/chat/completions", f"{ML}/v1/embeddings"),
        (f"{ML}/", f"{ML}/v1/chat/completions", f"{ML}/v1/embeddings"),
        (f"{ML}/v1", f"{ML}/v1/chat/completions", f"{ML}/v1/embeddings"),
        (f"{ML}/v1/chat/completions", f"{ML}/v1/chat/completions", f"{ML}/v1/embeddings"),
        (f"{ML}/chat/completions?a=1", f"{ML}/chat/completions?a=1", f"{ML}/embeddings?a=1"),
        (f"{ML}/v1/embeddings", f"{ML}/v1/chat/completions", f"{ML}/v1/embeddings"),
        (f"{ONLINE}/score", f"{ONLINE}/score", f"{ONLINE}/score"),
        (FOUNDRY, f"{FOUNDRY}/models/chat/completions?{VERSION}", f"{FOUNDRY}/models/embeddings?{VERSION}"),
        (f"{FOUNDRY}/models?api-version=1", f"{FOUNDRY}/models/chat/completions?api-version=1", None),
        (f"{FOUNDRY}/models/chat/completions?{VERSION}", f"{FOUNDRY}/models/chat/completions?{VERSION}", None),
        (f"{FOUNDRY}/openai/v1/", f"{FOUNDRY}/openai/v1/chat/completions", f"{FOUNDRY}/openai/v1/embeddings"),
        (f"{OPENAI}/chat/completions?api-version=1", f"{OPENAI}/chat/completions?api-version=1", None),
        ("https://apim.test/llm", "https://apim.test/llm/chat/completions", "https://apim.test/llm/embeddings"),
    ],
)
def test_a_target_uri_is_called_as_its_shape_says(uri, chat, embeddings):
    provider = make(KIND, target_uri=uri)
    called = {mode: provider.request(a_call(provider, mode)).url for mode in (Mode.CHAT, Mode.EMBEDDING)}

    assert called[Mode.CHAT] == chat
    assert embeddings is None or called[Mode.EMBEDDING] == embeddings


def test_texts_are_completed_beside_the_chats():
    assert operation_url(f"{ML}/v1/completions", Mode.COMPLETION) == f"{ML}/v1/completions"
    assert operation_url(f"{ML}/v1/completions", Mode.CHAT) == f"{ML}/v1/chat/completions"


@pytest.mark.parametrize(
    ("uri", "checked"),
    [
        (ML, f"{ML}/v1/models"),
        (f"{ML}/v1/chat/completions", f"{ML}/v1/models"),
        (f"{ONLINE}/score", f"{ONLINE}/v1/models"),
        (FOUNDRY, f"{FOUNDRY}/models/info?{VERSION}"),
        (f"{FOUNDRY}/models/embeddings?api-version=1", f"{FOUNDRY}/models/info?api-version=1"),
        (f"{FOUNDRY}/openai/v1", f"{FOUNDRY}/openai/v1/models"),
        (f"{OPENAI}/chat/completions?api-version=1", "https://r.openai.azure.com/openai/models?api-version=1"),
    ],
)
def test_the_free_check_asks_what_the_route_has(uri, checked):
    assert check_url(uri) == checked == make(KIND, target_uri=uri).check().url


@pytest.mark.parametrize(
    ("uri", "by_key"),
    [
        (ML, False),
        (ONLINE, False),
        ("https://e-serverless.eastus2.inference.ai.azure.com", False),
        (FOUNDRY, True),
        (f"{OPENAI}/chat/completions", True),
        ("https://evil.test/.openai.azure.com", False),
    ],
)
def test_the_key_stands_where_the_host_reads_it(uri, by_key):
    headers = make(KIND, target_uri=uri, secret_headers={}).auth.sign(Outgoing("GET", "")).headers

    assert headers == ({"api-key": KEY} if by_key else {"Authorization": f"Bearer {KEY}"})


KEY = "canary/0123+456=789-abc"


@pytest.mark.parametrize(("wish", "name"), [("bearer", "Authorization"), ("api-key", "api-key")])
@pytest.mark.parametrize("uri", [ML, FOUNDRY])
def test_an_admin_may_say_where(uri, wish, name):
    headers = make(KIND, target_uri=uri, sign_in=wish, secret_headers={}).auth.sign(Outgoing("GET", "")).headers

    assert list(headers) == [name]


@pytest.mark.parametrize(("uri", "scope"), [(ML, "ml.azure.com"), (FOUNDRY, "cognitiveservices.azure.com")])
def test_the_token_is_for_the_service_behind_the_host(uri, scope):
    entra = {"sign_in": "entra", "api_key": "", "tenant_id": "t", "client_id": "c", "client_secret": "s-canary"}

    asked = next(make(KIND, target_uri=uri, **entra).auth.renewal())

    assert f"scope=https%3A%2F%2F{scope}%2F.default" in asked.body.decode()


def called(own, **settings):
    provider = make(KIND, **{"target_uri": f"{FOUNDRY}/models", **settings})
    target = Target("m", options={"target_uri": own})
    return provider.request(Call(Mode.CHAT, target, {"messages": []})).url


@pytest.mark.parametrize(
    ("own", "url"),
    [
        ("/openai/deployments/d/chat/completions?a=1", f"{FOUNDRY}/openai/deployments/d/chat/completions?a=1"),
        (f"{FOUNDRY}/openai/v1", f"{FOUNDRY}/openai/v1/chat/completions"),
        ("", f"{FOUNDRY}/models/chat/completions?{VERSION}"),
    ],
)
def test_a_model_may_have_a_target_uri_of_its_own(own, url):
    assert called(own) == url


@pytest.mark.parametrize(
    "own",
    ["https://evil.test/v1", f"{FOUNDRY}.evil.test/v1", f"{FOUNDRY}:8443/v1", FOUNDRY.replace("https", "http")],
)
def test_the_key_goes_to_no_other_host(own):
    with pytest.raises(errors.RequestRefused, match="another host"):
        called(own)


@pytest.mark.parametrize(
    "own",
    [
        "//evil.test/v1",
        "/../admin",
        "/a/%2e%2e/b",
        "/a b",
        "evil.test",
        "https://u@evil.test/",
        "/a#b",
        "\\\\evil.test",
    ],
)
def test_an_odd_target_uri_of_a_model_is_refused(own):
    with pytest.raises(ValidationError):
        AzureLLM.ModelOptions(target_uri=own)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_uri": uri}
        for uri in ("", "e.models.ai.azure.com", f"{ML}/../x", f"{ML}/%2E%2e/x", f"{ML}/./v1", f"{ML}/#x", "ftp://x")
    ]
    + [{"target_uri": "https://r.openai.azure.com/"}, {"target_uri": "https://r.models.ai.azure.com@evil.test/"}]
    + [{"api_key": ""}, {"sign_in": "entra"}, {"extra_parameters": "keep"}, {"secret_headers": {"Api-Key": "x"}}],
    ids=str,
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        make(KIND, **settings)


@pytest.mark.parametrize(("where", "named"), [("body", True), ("header", False), ("none", False)])
def test_the_models_id_goes_where_the_endpoint_wants_it(where, named):
    provider = make(KIND, model_name=where)

    outgoing = provider.request(Call(Mode.CHAT, Target("blue"), {"messages": []}))

    assert ("model" in json.loads(outgoing.body)) is named
    assert (outgoing.headers.get("azureml-model-deployment") == "blue") is (where == "header")


def test_usage_in_streams_may_be_left_unasked():
    provider = make(KIND, stream_options=False)

    body = json.loads(provider.request(Call(Mode.CHAT, Target("m"), {"messages": []}, stream=True)).body)

    assert body["stream"] is True
    assert "stream_options" not in body


def test_models_of_openai_keep_their_habits():
    call = Call(Mode.CHAT, Target("d", underlying="gpt-5"), {"messages": [], "max_tokens": 5, "temperature": 0.5})

    body = json.loads(make(KIND).request(call).body)

    assert body.keys() == {"model", "messages", "max_completion_tokens"}


def test_an_endpoint_without_a_list_is_fine():
    assert make(KIND).check_problem(Answer(404, {}, b"")) is None
    assert isinstance(make(KIND).check_problem(Answer(401, {}, b"")), errors.KeyRefused)


def test_lists_of_servers_and_of_what_could_be_deployed():
    listed = Answer(200, {}, b'{"data": [{"id": "phi-4"}]}')

    assert [model.id for model in make(KIND).models(listed)] == ["phi-4"]
    assert make(KIND, target_uri=f"{FOUNDRY}/openai/v1").models(listed) == []
