"""Databricks: its two routes, its three ways to sign in, formats that cannot be streamed, and input that it refuses."""

import base64
import json
import struct

import pytest
from pydantic import ValidationError

from connections.providers import errors
from connections.providers.calls import Answer, Call, Mode, Outgoing, Target
from tests.providers.conftest import a_call, make

KIND = "databricks"
HOST = "https://adb-123.4.azuredatabricks.net"
CLIENT = {"access_token": "", "client_id": "c 1", "client_secret": "s-canary-4u"}


@pytest.mark.parametrize(
    "typed",
    [HOST, f"{HOST}/", f"{HOST}/serving-endpoints", f"{HOST}/serving-endpoints/x/invocations", f"{HOST}/ml/endpoints"],
)
def test_addresses_are_tidied(typed):
    assert make(KIND, workspace_url=typed).check().url == f"{HOST}/api/2.0/serving-endpoints"


@pytest.mark.parametrize("mode", [Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING])
def test_endpoints_of_ones_own_have_addresses_of_their_own(mode):
    provider = make(KIND, route="invocations")

    outgoing = provider.request(Call(mode, Target("our-dbrx", mode), a_call(provider, mode).body))

    assert outgoing.url == f"{HOST}/serving-endpoints/our-dbrx/invocations"
    assert "model" not in json.loads(outgoing.body)


@pytest.mark.parametrize("name", ["../../api/2.0/secrets", "..", "a/b", "a?b", "", "a b"])
def test_an_endpoints_name_leads_nowhere_else(name):
    with pytest.raises(errors.RequestRefused, match="endpoint"):
        make(KIND, route="invocations").request(Call(Mode.CHAT, Target(name), {"messages": []}))


@pytest.mark.parametrize(
    "settings",
    [{"workspace_url": url} for url in ("adb.net", f"{HOST}/?o=123", f"{HOST}/../x", "https://u:p@adb.net")]
    + [{"access_token": ""}, {"sign_in": "oauth"}, {"sign_in": "entra", **CLIENT}]
    + [{"sign_in": "oauth", **CLIENT, "client_secret": ""}],
    ids=str,
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        make(KIND, **settings)


def asked_for_a_token(**settings):
    provider = make(KIND, **CLIENT, **settings)
    steps = provider.auth.renewal()
    asked = next(steps)
    with pytest.raises(StopIteration):
        steps.send(Answer(200, {}, b'{"access_token": "token-1", "expires_in": 3600}'))
    assert provider.auth.sign(Outgoing("GET", "")).headers == {"Authorization": "Bearer token-1"}
    return asked


def test_a_service_principal_of_databricks_names_itself_in_the_header():
    asked = asked_for_a_token(sign_in="oauth")

    assert asked.url == f"{HOST}/oidc/v1/token"
    assert asked.body == b"grant_type=client_credentials&scope=all-apis"
    assert base64.b64decode(asked.headers["Authorization"].removeprefix("Basic ")) == b"c+1:s-canary-4u"


def test_a_service_principal_of_azure_asks_entra():
    asked = asked_for_a_token(sign_in="entra", tenant_id="t-1")

    assert asked.url == "https://login.microsoftonline.com/t-1/oauth2/v2.0/token"
    assert b"scope=2ff814a6-3304-4ab8-85cb-cd0e6f879c1d%2F.default" in asked.body


FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


def opened(options=None, **body):
    provider = make(KIND)
    call = Call(Mode.CHAT, Target("m", options=options or {}), {"messages": [], **body}, stream=True)
    return call, next(steps, None) if (steps := provider.opening(call)) else None


@pytest.mark.parametrize("wanted", [FORMAT, {"type": "json_object"}])
def test_what_follows_a_format_comes_whole(wanted):
    call, outgoing = opened(response_format=wanted)

    assert "stream" not in json.loads(outgoing.body)
    assert list(map(str, call.adjusted)) == ["stream answered whole"]


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, {}),
        ({}, {"response_format": {"type": "text"}}),
        ({"structured_streams": True}, {"response_format": FORMAT}),
    ],
)
def test_everything_else_is_streamed(options, body):
    call, outgoing = opened(options, **body)

    assert outgoing is None  # no step before the stream
    assert call.adjusted == []


def test_an_error_code_below_an_answer_is_no_error():
    choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
    body = {"choices": [choice], "warnings": {"error_code": "BAD_REQUEST"}}
    provider = make(KIND)

    assert provider.reply(a_call(provider), Answer(200, {}, json.dumps(body).encode())).finish_reason == "stop"


def test_vectors_are_packed_for_those_who_ask():
    provider = make(KIND)
    answer = Answer(200, {}, b'{"data": [{"index": 0, "embedding": [0.5, -1]}], "usage": {"prompt_tokens": 1}}')
    plain, asked = a_call(provider, Mode.EMBEDDING), a_call(provider, Mode.EMBEDDING, encoding_format="base64")

    [row] = json.loads(provider.reply(asked, answer).body)["data"]

    assert json.loads(provider.reply(plain, answer).body)["data"][0]["embedding"] == [0.5, -1]
    assert struct.unpack("<2f", base64.b64decode(row["embedding"])) == (0.5, -1.0)


@pytest.mark.parametrize("numbers", [b'["a"]', b"[[1]]", b"[null]", b"[1e300]"])
def test_vectors_that_are_none_are_a_bad_reply(numbers):
    provider = make(KIND)
    body = b'{"data": [{"index": 0, "embedding": ' + numbers + b"}]}"

    with pytest.raises(errors.BadReply):
        provider.reply(a_call(provider, Mode.EMBEDDING, encoding_format="base64"), Answer(200, {}, body))


def test_another_address_than_a_workspaces_is_named():
    assert "workspace" in str(make(KIND).check_problem(Answer(404, {}, b"")))


def test_many_texts_are_many_requests():
    assert make(KIND).abilities(Target("e", Mode.EMBEDDING)).inputs == 150
