"""What is particular about Snowflake: accounts, ways to sign in, two routes."""

import base64
import hashlib
import json

import pytest
import time_machine
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from pydantic import ValidationError

from connections.providers.calls import Call, Mode, Outgoing, Target
from tests.providers.conftest import make

KIND = "snowflake"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key, passphrase=b""):
    secured = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secured).decode()


def signed(**settings):
    return make(KIND, token="", sign_in="key_pair", user="ada", **settings).auth.sign(Outgoing("GET", ""))


def claims_of(headers):
    """The claims, once the signature was checked with the public key."""
    head, body, signature = headers["Authorization"].removeprefix("Bearer ").split(".")
    KEY.public_key().verify(decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(decoded(head)) == {"alg": "RS256", "typ": "JWT"}
    return json.loads(decoded(body))


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_key_pair_signs_its_own_token():
    public = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    with time_machine.travel(1_790_000_000, tick=False):
        headers = signed(account="myorg-acc.eu-west-1", private_key=pem(KEY)).headers

    claims = claims_of(headers)
    digest = base64.b64encode(hashlib.sha256(public).digest()).decode()
    assert headers["X-Snowflake-Authorization-Token-Type"] == "KEYPAIR_JWT"
    assert claims == {
        "iss": f"MYORG-ACC.ADA.SHA256:{digest}",
        "sub": "MYORG-ACC.ADA",
        "iat": 1_790_000_000,
        "exp": 1_790_003_600,
    }


def test_the_token_is_kept_and_made_anew_before_it_ends():
    auth = make(KIND, token="", sign_in="key_pair", user="ada", private_key=pem(KEY)).auth
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        first = auth.sign(Outgoing("GET", "")).headers["Authorization"]
        clock.shift(3_000)
        assert auth.sign(Outgoing("GET", "")).headers["Authorization"] == first
        clock.shift(400)
        later = auth.sign(Outgoing("GET", "")).headers

    assert claims_of(later)["iat"] == 1_790_003_400


def test_an_encrypted_key_needs_its_passphrase():
    secured = pem(KEY, b"open sesame")

    assert signed(private_key=secured, passphrase="open sesame").headers["Authorization"]
    for passphrase in ("", "wrong"):
        with pytest.raises(ValidationError, match="passphrase"):
            signed(private_key=secured, passphrase=passphrase)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sign_in": "token", "token": ""}, "needs an access token"),
        ({"sign_in": "oauth", "token": "refresh"}, "needs the client id"),
        ({"sign_in": "key_pair", "user": "", "private_key": pem(KEY)}, "needs the user"),
        ({"sign_in": "key_pair", "user": "ada", "private_key": "not a key"}, "-----BEGIN"),
        ({"sign_in": "key_pair", "user": "ada", "private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, "RSA"),
        ({"account": "evil.test/"}, "account identifier"),
        ({"account": "a@b"}, "account identifier"),
        ({"account": "a..b"}, "account identifier"),
        ({"account": "us-east-1.evil.test/path"}, "account identifier"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        make(KIND, **settings)


def test_the_account_may_be_pasted_with_its_host():
    assert make(KIND, account="MyOrg-Acc.snowflakecomputing.com").base_url.startswith("https://myorg-acc.snow")


def test_a_private_link_has_a_host_of_its_own():
    provider = make(KIND, host_url="https://acc.privatelink.snowflakecomputing.com")

    assert provider.check().url == "https://acc.privatelink.snowflakecomputing.com/api/v2/cortex/models"


@pytest.mark.parametrize(
    ("model", "options", "path"),
    [
        ("mistral-large", {}, "inference:complete"),
        ("mistral-large", {"route": "chat"}, "v1/chat/completions"),
        ("claude-sonnet-4-6", {}, "v1/chat/completions"),
        ("claude-sonnet-4-6", {"route": "complete"}, "inference:complete"),
    ],
)
def test_the_first_models_are_reached_by_the_older_route(model, options, path):
    call = Call(Mode.CHAT, Target(model, options=options), {"messages": [{"role": "user", "content": "Hi"}]})

    assert make(KIND).request(call).url.endswith(path)


def test_every_line_of_the_key_is_scrubbed():
    provider = make(KIND, token="", sign_in="key_pair", user="ada", private_key=pem(KEY))

    assert set(pem(KEY).splitlines()[1:-1]) <= set(provider.secrets())
