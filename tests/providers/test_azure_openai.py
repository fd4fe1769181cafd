"""Azure OpenAI: its addresses, its ways to sign in, what its filter adds, and input that it refuses."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from connections.providers import ambient, errors
from connections.providers.azure_openai import AzureOpenAI
from connections.providers.calls import Answer, Call, Frame, Mode, Outgoing, Target
from connections.providers.entra import MachineToken
from connections.providers.oauth import AccessToken
from tests.providers.conftest import a_call, golden, make

KIND = "azure_openai"
CHAT = "chat/completions"
ENTRA = {"sign_in": "entra", "tenant_id": "contoso.onmicrosoft.com", "client_id": "c-1", "client_secret": "s-canary-9"}


def url(name="our-chat", mode=Mode.CHAT, **settings):
    provider = make(KIND, query={}, **settings)
    return provider.request(Call(mode, Target(name, mode), a_call(provider, mode).body)).url


# --- addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "called"),
    [
        ("https://a.openai.azure.com", "https://a.openai.azure.com/openai/"),
        ("https://a.openai.azure.com/openai/", "https://a.openai.azure.com/openai/"),
        ("https://a.services.ai.azure.com/openai/v1/", "https://a.services.ai.azure.com/openai/"),
        ("https://a.openai.azure.com/openai/deployments/x/chat/completions", "https://a.openai.azure.com/openai/"),
        ("https://apim.contoso.com/gen-ai", "https://apim.contoso.com/gen-ai/openai/"),
    ],
)
def test_both_styles_lie_below_the_endpoint(endpoint, called):
    classic, newer = url(endpoint=endpoint), url(endpoint=endpoint, style="v1")

    assert classic == f"{called}deployments/our-chat/{CHAT}?api-version=2024-10-21"
    assert newer == f"{called}v1/{CHAT}"


@pytest.mark.parametrize("mode", [Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE])
def test_every_mode_has_its_route(mode):
    path = {
        Mode.CHAT: CHAT,
        Mode.COMPLETION: "completions",
        Mode.EMBEDDING: "embeddings",
        Mode.IMAGE: "images/generations",
    }[mode]

    assert urlsplit(url(mode=mode)).path == f"/openai/deployments/our-chat/{path}"
    assert urlsplit(url(mode=mode, style="v1")).path == f"/openai/v1/{path}"


def test_a_gateway_may_leave_out_a_part_of_the_path():
    assert urlsplit(url(endpoint="https://g.test/a", openai_path=False)).path == "/a/deployments/our-chat/" + CHAT
    assert urlsplit(url(endpoint="https://g.test/a", openai_path=False, style="v1")).path == "/a/v1/" + CHAT


def test_versions_and_other_parameters_go_into_the_query():
    provider = make(KIND, api_version="2025-04-01-preview", query={"tier": "a b"})
    newer = make(KIND, api_version="preview", query={}, style="v1")

    asked = [provider.request(a_call(provider)), provider.check(), newer.check()]

    queries = [parse_qs(urlsplit(outgoing.url).query) for outgoing in asked]
    assert queries[0] == queries[1] == {"api-version": ["2025-04-01-preview"], "tier": ["a b"]}
    assert queries[2] == {"api-version": ["preview"]}


def test_the_free_check_asks_for_models():
    assert make(KIND, query={}).check().url == "https://contoso.openai.azure.com/openai/models?api-version=2024-10-21"
    assert make(KIND, query={}, style="v1").check().url == "https://contoso.openai.azure.com/openai/v1/models"


@pytest.mark.parametrize("name", ["../../x", "..", "a/b", "a?b", "", "a b", "ä"])
def test_a_deployments_name_leads_nowhere_else(name):
    with pytest.raises(errors.RequestRefused, match="deployment"):
        url(name)


@pytest.mark.parametrize(
    "settings",
    [{"endpoint": "https://a.openai.azure.com/openai?api-version=1"}, {"endpoint": "a.openai.azure.com"}]
    + [{"api_version": version} for version in ("2024", "2024-10-21;x", "latest&x=1", "2024-10-21-beta")]
    + [{"query": pair} for pair in ({"a b": "1"}, {"api-version": "1"}, {"a": "1\r\nX: y"}, {"a": "ü"})]
    + [{"secret_headers": pair} for pair in ({"Host": "x"}, {"X-Key": ""}, {"two words": "x"}, {"X-Key": "a\nb"})]
    + [{"correlation_header": name} for name in ("Host", "a b", "x:")]
    + [{"api_key": ""}, {"sign_in": "headers", "secret_headers": {}}]
    + [{"secret_headers": {"API-Key": "x"}}, {"correlation_header": "x-team"}]
    + [ENTRA | {name: ""} for name in ("tenant_id", "client_id", "client_secret")]
    + [ENTRA | {"tenant_id": tenant} for tenant in ("../x", "a/b", "a@b", "x?y", "-a", "a..b")]
    + [ENTRA | {"authority": "https://login.test/?x=1"}],
    ids=str,
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValidationError) as caught:
        make(KIND, **settings)

    assert "canary" not in str(caught.value)


# --- proofs ----------------------------------------------------------------------------------------------


def signed(**settings):
    return make(KIND, **settings).auth.sign(Outgoing("GET", "")).headers


def test_the_key_stands_in_the_header_that_a_gateway_reads():
    assert signed(secret_headers={}) == {"api-key": "canary/0123+456=789-abc"}
    assert signed(secret_headers={}, header_name="x-gateway-key") == {"x-gateway-key": "canary/0123+456=789-abc"}


def test_only_secret_headers_may_be_the_proof():
    headers = {"Ocp-Apim-Subscription-Key": "apim-1"}

    assert signed(sign_in="headers", api_key="", secret_headers=headers) == headers


@pytest.mark.parametrize(
    ("settings", "scope"),
    [
        ({}, "https%3A%2F%2Fcognitiveservices.azure.com%2F.default"),
        ({"style": "v1"}, "https%3A%2F%2Fai.azure.com%2F.default"),
        ({"scope": "api://apim-app/.default"}, "api%3A%2F%2Fapim-app%2F.default"),
    ],
)
def test_a_client_of_the_directory_trades_its_secret_for_a_token(settings, scope):
    provider = make(KIND, **ENTRA, **settings, authority="https://login.microsoftonline.us/")
    steps = provider.auth.renewal()
    asked = next(steps)
    with pytest.raises(StopIteration):
        steps.send(Answer(200, {}, b'{"access_token": "token-canary-1", "expires_in": 3600}'))

    assert asked.url == "https://login.microsoftonline.us/contoso.onmicrosoft.com/oauth2/v2.0/token"
    assert f"&scope={scope}&client_id=c-1&client_secret=s-canary-9" in f"&{asked.body.decode()}"
    headers = provider.auth.sign(provider.request(a_call(provider))).headers
    assert headers["Authorization"] == "Bearer token-canary-1"
    assert headers["Ocp-Apim-Subscription-Key"] == "apim-canary-77aa88bb99"
    assert "api-key" not in headers
    assert "token-canary-1" in provider.secrets()


def test_the_machines_identity_is_not_lent_by_default():
    with pytest.raises(ValidationError, match="MESH_AMBIENT_IDENTITY"):
        make(KIND, sign_in="managed_identity")


def test_the_machines_identity_is_used_where_the_deployment_allows_it(monkeypatch):
    monkeypatch.setattr(ambient, "allowed", {"azure"})
    auth = make(KIND, sign_in="managed_identity", client_id="id 1").auth
    assert isinstance(auth, MachineToken)
    steps = auth.renewal()
    next(steps)

    with pytest.raises(StopIteration):
        steps.send(Answer(200, {}, b'{"access_token": "machine-1", "expires_in": "86399"}'))

    assert auth.sign(Outgoing("GET", "")).headers["Authorization"] == "Bearer machine-1"
    monkeypatch.setattr(ambient, "allowed", set())
    with pytest.raises(errors.KeyRefused, match="MESH_AMBIENT_IDENTITY"):
        next(MachineToken("x").renewal())


def test_sign_in_by_key_has_nothing_to_renew():
    assert not isinstance(make(KIND).auth, AccessToken)


@pytest.mark.parametrize(
    ("header", "form"),
    [("x-correlation-id", "req_1"), ("traceparent", "00-[0-9a-f]{32}-[0-9a-f]{16}-01")],
)
def test_our_id_of_the_request_goes_along(header, form):
    provider = make(KIND, correlation_header=header)
    call = a_call(provider)
    call.request_id = "req_1"

    assert re.fullmatch(form, provider.request(call).headers[header])


# --- models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "asks"), [("2024-06-01", False), ("2024-09-01-preview", True), ("", True), ("2025-01-01", True)]
)
def test_older_versions_are_not_asked_for_usage(version, asks):
    provider = make(KIND, api_version=version)
    call = a_call(provider)
    call.stream = True

    assert ("stream_options" in json.loads(provider.request(call).body)) is asks


@pytest.mark.parametrize(("model", "name"), [("gpt-35-turbo", "max_tokens"), ("gpt-5", "max_completion_tokens")])
def test_the_declared_model_decides_what_is_sent(model, name):
    provider = make(KIND)
    call = Call(Mode.CHAT, Target("d", underlying=model), {"messages": [], "max_tokens": 5})

    assert name in json.loads(provider.request(call).body)


@pytest.mark.parametrize(
    ("declared", "answered", "told"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", True),
        ("gpt-3.5-turbo", "gpt-35-turbo", False),
        ("gpt-4o-2024-08-06", "gpt-4o", False),
        ("", "gpt-4o", False),
        ("gpt-4o", "", False),
        ("gpt-5", "gpt-5.2-2025-12-11", True),
    ],
)
def test_another_model_than_the_declared_one_is_told(declared, answered, told):
    provider = make(KIND)
    whole = golden(KIND, "chat_reply.json")["answer"] | {"model": answered}
    chunk = {"model": answered, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    calls = [Call(Mode.CHAT, Target("our-chat", underlying=declared), {"messages": []}) for _ in range(2)]

    provider.reply(calls[0], Answer(200, {}, json.dumps(whole).encode()))
    reader = provider.events(calls[1])
    for _ in range(2):
        reader.feed(Frame("", json.dumps(chunk).encode()))

    expected = [f"model answered by {answered}, declared as {declared}"] if told else []
    assert [list(map(str, call.adjusted)) for call in calls] == [expected, expected]


def test_no_deployment_is_invented():
    assert make(KIND).models(Answer(200, {}, b'{"data": [{"id": "gpt-4o"}]}')) == []
    assert AzureOpenAI.catalogue == ()


# --- answers ---------------------------------------------------------------------------------------------


def test_a_choice_that_only_ends_gets_its_delta():
    choice = {"index": 0, "finish_reason": "content_filter", "content_filter_results": {}}

    [chunk] = make(KIND).events(a_call(make(KIND))).feed(Frame("", json.dumps({"choices": [choice]}).encode()))

    assert json.loads(chunk)["choices"][0]["delta"] == {}


def test_usage_beside_the_filters_words_is_heard():
    told = {"usage": {"prompt_tokens": 1, "completion_tokens": 2}, "prompt_filter_results": [{"content_filter": {}}]}
    told["content_filter_results"] = {}
    events = make(KIND).events(a_call(make(KIND)))

    assert len(events.feed(Frame("", json.dumps(told).encode()))) == 1
    assert events.usage.completion_tokens == 2


def test_completions_have_no_deltas():
    choice = {"index": 0, "text": "Hi", "finish_reason": None, "content_filter_results": {}}
    provider = make(KIND)

    [chunk] = provider.events(a_call(provider, Mode.COMPLETION)).feed(
        Frame("", json.dumps({"choices": [choice]}).encode())
    )

    assert "delta" not in json.loads(chunk)["choices"][0]


def test_a_missing_list_is_an_error_at_azure_and_none_at_a_gateway():
    assert isinstance(make(KIND).check_problem(Answer(404, {}, b"")), errors.RequestRefused)
    assert make(KIND, endpoint="https://apim.contoso.com").check_problem(Answer(404, {}, b"")) is None
    assert isinstance(
        make(KIND, endpoint="https://apim.contoso.com").check_problem(Answer(401, {}, b"")), errors.KeyRefused
    )
