"""Signing requests to AWS: with typed keys, with those of a role, with this machine's own."""

import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from pydantic import ValidationError

from connections.providers import ambient
from connections.providers.aws import NO_KEYS, AwsAuth, AwsProvider, AwsSettings, RegionalRequest, address
from connections.providers.aws_keys import AwsKeys, HostKeys, TypedKeys
from connections.providers.calls import Answer, InThread, Outgoing
from connections.providers.errors import BadReply, KeyRefused, Overloaded
from connections.transport import Transport
from tests.upstream import sigv4
from tests.upstream.faults import Fault

KEYS = {"region": "us-east-1", "access_key_id": sigv4.KEY_ID, "secret_access_key": sigv4.SECRET}
ROLE = "arn:aws:iam::123456789012:role/models/llm-mesh"
ARN = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123def456"
EXPIRED = Answer(403, {"x-amzn-errortype": "ExpiredTokenException:http://internal.amazon.com/"}, b'{"message":"Old."}')


class Service(AwsProvider):
    service = "bedrock"
    Settings = AwsSettings


def provider(lent=None, **settings):
    return Service(AwsSettings(**{**KEYS, **settings}), lent or {})


def lent_keys(ends: timedelta, number: int = 1) -> Answer:
    """What STS answers to AssumeRole."""
    until = (datetime.now(UTC) + ends).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
      <AccessKeyId>ASIALENT{number:08}</AccessKeyId><SecretAccessKey>lent/secret+{number}</SecretAccessKey>
      <SessionToken>lent-token-{number}==</SessionToken><Expiration>{until}</Expiration>
    </Credentials></AssumeRoleResult></AssumeRoleResponse>"""
    return Answer(200, {}, body.encode())


def taken(steps, *answers):
    """Take a renewal's steps with these answers; the requests that it made."""
    made, given = [], iter([None, *answers])
    while True:
        try:
            made.append(steps.send(next(given)))
        except StopIteration:
            return made


# --- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"region": "us-east-1.evil.test/"}, "Write the region"),
        ({"region": "us-east-1@evil.test"}, "Write the region"),
        ({"region": "us-east-1\n"}, ""),
        ({"region": ""}, "at least 1 character"),
        ({"access_key_id": "AKIA/../x"}, "capital letters"),
        ({"access_key_id": ""}, "belong together"),
        ({"secret_access_key": ""}, "belong together"),
        ({"access_key_id": "ASIACANARY7QE2ZKV9TX"}, "needs its session token"),
        ({"access_key_id": "", "secret_access_key": "", "session_token": "t"}, "needs the access key"),
        ({"access_key_id": "", "secret_access_key": ""}, NO_KEYS),
        ({"credential": "0190-a-uuid"}, "not both"),
        ({"role_arn": "arn:aws:iam::12345:role/x"}, "Write the role"),
        ({"role_arn": "arn:aws:iam::123456789012:role/x&Action=y"}, "Write the role"),
        ({"external_id": "only-this"}, "needs the role"),
        ({"role_arn": ROLE, "external_id": "with space"}, "External ID"),
        ({"role_seconds": 899}, "900"),
        ({"role_seconds": 43_201}, "43200"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, words):
    if not words:
        assert provider(**settings).settings.region == "us-east-1"  # the space around it is taken off
        return
    with pytest.raises(ValidationError) as caught:
        provider(**settings)

    assert words.lower() in str(caught.value).lower()
    assert sigv4.SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://sts.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "https://sts.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_each_partition_has_its_own_names(region, url):
    assert AwsSettings(**{**KEYS, "region": region}).region == region
    assert address("sts", region) == url


# --- signing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "canary-token=="])
@pytest.mark.parametrize("path", [f"model/{ARN}/converse", "model/anthropic.claude-v2%3A1/invoke?a=%3A&b=c%20d", ""])
async def test_what_arrives_is_what_was_signed(upstream, path, token):
    """Through the real transport: path, query and body must stay byte for byte what they were."""
    upstream.script(Fault.status(200, b"{}"))
    url = f"http://127.0.0.1:{upstream.port}/bedrock/{path}"
    headers = {"Content-Type": "application/json", "X-Amzn-Bedrock-Accept": "*/*"}
    outgoing = provider(session_token=token).auth.sign(Outgoing("POST", url, headers, '{"text": "Grüße"}'.encode()))

    async with Transport() as transport:
        await transport.send(outgoing)

    request = upstream.requests[0]
    assert request.path == f"/bedrock/{path}"
    assert sigv4.problem(request, service="bedrock", token=token) == ""
    assert "x-amzn-bedrock-accept" in request.headers["authorization"]


def test_a_request_may_go_to_another_region():
    url = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/x/converse"
    auth = provider().auth

    assert "/us-east-1/bedrock/aws4_request" in auth.sign(Outgoing("POST", url)).headers["Authorization"]
    regional = RegionalRequest("POST", url, region="eu-west-1")
    assert "/eu-west-1/bedrock/aws4_request" in auth.sign(regional).headers["Authorization"]


def test_typed_keys_cannot_be_renewed():
    auth = provider().auth

    assert auth.renewal() is None
    assert not auth.refused(EXPIRED)


# --- roles -----------------------------------------------------------------------------------------------


def test_a_role_is_assumed_with_the_keys_and_then_signs():
    role = provider(role_arn=ROLE, external_id="partner-7", role_seconds=900)

    (asked,) = taken(role.auth.renewal(), lent_keys(timedelta(hours=1)))

    assert (asked.method, asked.url) == ("POST", "https://sts.us-east-1.amazonaws.com/")
    told = {name: value[0] for name, value in parse_qs(asked.body.decode(), strict_parsing=True).items()}
    assert told == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "llm-mesh",
        "ExternalId": "partner-7",
        "DurationSeconds": "900",
    }
    assert f"Credential={sigv4.KEY_ID}/" in asked.headers["Authorization"]
    assert "/us-east-1/sts/aws4_request" in asked.headers["Authorization"]
    signed = role.auth.sign(Outgoing("POST", "https://bedrock-runtime.us-east-1.amazonaws.com/model/x/converse"))
    assert signed.headers["X-Amz-Security-Token"] == "lent-token-1=="
    assert "Credential=ASIALENT00000001/" in signed.headers["Authorization"]
    assert {"ASIALENT00000001", "lent/secret+1", "lent-token-1=="} <= set(role.secrets())
    assert "lent" not in f"{role.keys!r} {role.keys.current()!r} {signed!r}"


@pytest.mark.parametrize(("ends", "holds"), [(timedelta(minutes=6), True), (timedelta(minutes=4), False)])
def test_keys_are_renewed_five_minutes_before_their_end(ends, holds):
    role = provider(role_arn=ROLE)
    taken(role.auth.renewal(), lent_keys(ends))

    assert (role.auth.renewal() is None) == holds


def test_keys_that_still_hold_go_on_while_the_token_service_fails():
    role = provider(role_arn=ROLE)
    taken(role.auth.renewal(), lent_keys(timedelta(minutes=4)))

    taken(role.auth.renewal(), Answer(503, {}, b"<Error><Code>ServiceUnavailable</Code></Error>"))

    assert role.keys.current().id == "ASIALENT00000001"
    role.keys.forget()
    with pytest.raises(Overloaded):
        taken(role.auth.renewal(), Answer(503, {}, b""))


def test_expired_keys_are_forgotten_and_fetched_again():
    role = provider(role_arn=ROLE)
    taken(role.auth.renewal(), lent_keys(timedelta(hours=1)))

    assert not role.auth.refused(Answer(403, {}, b'{"__type": "AccessDeniedException", "message": "No."}'))
    assert role.auth.renewal() is None
    assert role.auth.refused(EXPIRED)
    taken(role.auth.renewal(), lent_keys(timedelta(hours=1), 2))
    assert role.keys.current().id == "ASIALENT00000002"


def test_a_role_may_be_assumed_with_the_keys_of_another_role():
    lender = provider(role_arn=ROLE)
    borrower = provider({"credential": lender}, credential="x", access_key_id="", secret_access_key="", role_arn=ROLE)

    first, second = taken(borrower.auth.renewal(), lent_keys(timedelta(hours=1)), lent_keys(timedelta(hours=1), 2))

    assert f"Credential={sigv4.KEY_ID}/" in first.headers["Authorization"]
    assert "Credential=ASIALENT00000001/" in second.headers["Authorization"]
    assert borrower.keys.current().id == "ASIALENT00000002"
    assert {"ASIALENT00000002", "ASIALENT00000001", sigv4.SECRET} <= set(borrower.secrets())


def test_expired_keys_of_the_first_role_are_fetched_again_for_the_second():
    lender = provider(role_arn=ROLE)
    taken(lender.auth.renewal(), lent_keys(timedelta(hours=1)))
    borrower = provider({"credential": lender}, credential="x", access_key_id="", secret_access_key="", role_arn=ROLE)
    hour = timedelta(hours=1)

    asked = taken(borrower.auth.renewal(), EXPIRED, lent_keys(hour, 2), lent_keys(hour, 3))

    used = [one.headers["Authorization"].partition("Credential=")[2].partition("/")[0] for one in asked]
    assert used == ["ASIALENT00000001", sigv4.KEY_ID, "ASIALENT00000002"]
    assert borrower.keys.current().id == "ASIALENT00000003"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDenied", "trust policy"),
        ("InvalidClientTokenId", "does not know this access key"),
        ("SignatureDoesNotMatch", "clock"),
        ("ExpiredToken", "have expired"),
    ],
)
def test_a_role_that_cannot_be_assumed_says_why(code, words):
    body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>Of {sigv4.SECRET}.</Message></Error>"
    steps = provider(role_arn=ROLE).auth.renewal()

    with pytest.raises(KeyRefused, match=words) as caught:
        taken(steps, Answer(403, {}, body.encode()))

    assert sigv4.SECRET not in caught.value.evidence


def test_an_answer_that_breaks_off_in_blanks_is_read_at_once():
    """A pattern that tries all ways to share the blanks out would take days."""
    steps = provider(role_arn=ROLE).auth.renewal()

    with pytest.raises(BadReply):
        taken(steps, Answer(200, {}, b"<AccessKeyId>" + b" " * 60_000))


# --- this machine's own identity -------------------------------------------------------------------------


@pytest.fixture
def host_allowed():
    ambient.allow(["aws"])
    yield
    ambient.allow([])


def test_this_machines_identity_is_used_where_the_deployment_allows_it(host_allowed, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHOST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "host-secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    host = provider(access_key_id="", secret_access_key="")
    step = host.auth.renewal().send(None)

    assert isinstance(step, InThread)
    taken(host.auth.renewal(), step.work())

    assert host.auth.renewal() is None
    signed = host.auth.sign(Outgoing("GET", "https://bedrock.us-east-1.amazonaws.com/foundation-models"))
    assert "Credential=AKIAHOST/" in signed.headers["Authorization"]
    assert {"AKIAHOST", "host-secret"} <= set(host.secrets())
    assert host.auth.refused(EXPIRED)


def test_a_machine_without_an_identity_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(KeyRefused, match="no AWS identity"):
        HostKeys().renewal().send(None).work()


def test_an_unknown_cloud_stops_the_start_and_is_named(settings):
    settings.AMBIENT_IDENTITY = ["aws", "oracle"]

    with pytest.raises(ImproperlyConfigured, match="not oracle"):
        apps.get_app_config("connections").ready()

    assert ambient.allowed == set()


def test_keys_that_ended_do_not_last():
    assert AwsKeys("a", "b").last
    assert not AwsKeys("a", "b", "c", time.time() + 10).last
    assert AwsAuth(TypedKeys(AwsKeys("a", "b")), "sts", "us-east-1").renewal() is None
