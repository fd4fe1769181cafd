"""Signing in to Google: what JSON is taken, and how it becomes tokens."""

import json
from urllib.parse import parse_qs

import pytest

from connections.providers import ambient
from connections.providers.calls import Answer, InThread, Outgoing
from connections.providers.errors import KeyRefused, Overloaded
from connections.providers.google_auth import AmbientToken, GoogleToken
from connections.providers.google_credentials import TOKEN_URL, AuthorizedUser, ServiceAccount, credential_of
from connections.providers.scrubbing import scrub
from tests.canary import leaks
from tests.upstream.google_identity import ACCOUNT, KEY_ID, PEM, USER, Refused, claims_of, file_of

CALL = Outgoing("GET", "https://aiplatform.googleapis.com/v1/x")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def answered(token="ya29.token-one-canary", **more):
    body = {"access_token": token, "expires_in": 3599, "token_type": "Bearer", **more}
    return Answer(200, {}, json.dumps(body).encode())


def renewed(auth, answer):
    """The request that the renewal makes; it is given this answer."""
    steps = auth.renewal()
    outgoing = next(steps)
    with pytest.raises(StopIteration):
        steps.send(answer)
    return outgoing


# --- what is taken ---------------------------------------------------------------------------------------


def test_the_key_of_a_service_account_is_taken():
    credential = credential_of(json.dumps(ACCOUNT))

    assert isinstance(credential, ServiceAccount)
    assert (credential.email, credential.project) == (ACCOUNT["client_email"], "mesh-tests-1234")


def test_the_file_of_a_signed_in_user_is_taken():
    credential = credential_of(json.dumps({**USER, "quota_project_id": "paying-project-1", "account": ""}))

    assert isinstance(credential, AuthorizedUser)
    assert credential.quota_project == "paying-project-1"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"token_uri": "https://evil.test/token"}, "token_uri is not Google's"),
        ({"token_uri": "https://oauth2.googleapis.com.evil.test/token"}, "token_uri is not Google's"),
        ({"token_uri": [TOKEN_URL]}, "token_uri is not Google's"),
        ({"universe_domain": "evil.test"}, "another universe_domain"),
        ({"type": "external_account"}, "points to other addresses or programs"),
        ({"type": "external_account_authorized_user"}, "points to other addresses or programs"),
        ({"type": "impersonated_service_account"}, "points to other addresses or programs"),
        ({"type": "gdch_service_account"}, "points to other addresses or programs"),
        ({"type": "something"}, "must be service_account or authorized_user"),
        ({"type": ["service_account"]}, "must be service_account or authorized_user"),
        ({"credential_source": {"executable": {"command": "/bin/sh"}}}, "fields that files of type service_account"),
        ({"service_account_impersonation_url": "https://evil.test"}, "fields that files of type service_account"),
        ({"auth_uri": "https://evil.test/"}, "auth_uri is an address outside Google"),
        ({"client_x509_cert_url": "https://evil.test/googleapis.com"}, "client_x509_cert_url is an address outside"),
        ({"client_email": "https://www.googleapis.com/x"}, "client_email is an address outside Google"),
        ({"project_id": "../../evil"}, "project_id is no project id"),
        ({"project_id": "a\r\nx-evil: 1"}, "project_id has letters"),
        ({"project_id": "\u202eevil-project"}, "project_id has letters"),
        ({"private_key_id": "id\n"}, "private_key_id has letters"),
        ({"client_email": "mesh\u202e@x"}, "client_email has letters"),
        ({"private_key": None}, "lacks private_key"),
        ({"private_key": ""}, "lacks private_key"),
        ({"client_email": 7}, "lacks client_email"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"}, "cannot be read"),
        ({"private_key": "no key at all"}, "cannot be read"),
    ],
)
def test_json_that_would_lead_elsewhere_is_refused(changed, sentence):
    """Bad input 121: nothing but Google's own files, and no address of theirs is ever called."""
    with pytest.raises(ValueError, match=sentence) as refusal:
        credential_of(json.dumps({**ACCOUNT, **changed}))

    assert not leaks(str(refusal.value).encode(), [ACCOUNT["private_key"], KEY_ID])


@pytest.mark.parametrize("text", ["AIza-a-key", "", "[]", "null", "7", '{"type": ', "[" * 100_000])
def test_what_is_no_such_file_is_refused(text):
    with pytest.raises(ValueError, match="JSON"):
        credential_of(text)


def test_a_key_that_is_not_rsa_is_refused():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    with pytest.raises(ValueError, match="no RSA key"):
        credential_of(file_of(private_key=other.decode()))


# --- tokens ----------------------------------------------------------------------------------------------


@pytest.mark.proves(kind="vertex", mode="chat", by="fact sheet")
def test_a_service_account_signs_a_statement_that_google_can_check():
    auth = GoogleToken(credential_of(file_of()), quota_project="paying-project-1")

    outgoing = renewed(auth, answered())

    assert (outgoing.method, outgoing.url) == ("POST", TOKEN_URL)
    form = {name: values[0] for name, values in parse_qs(outgoing.body.decode()).items()}
    assert form.keys() == {"grant_type", "assertion"}
    assert claims_of(form)["iss"] == ACCOUNT["client_email"]
    signed = auth.sign(CALL)
    assert signed.headers["Authorization"] == "Bearer ya29.token-one-canary"
    assert signed.headers["x-goog-user-project"] == "paying-project-1"
    assert auth.renewal() is None


def test_our_check_of_statements_notices_what_is_wrong_with_them():
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
    head, claims, signature = credential_of(file_of())._assertion(1_000_000_000).split(".")

    for assertion, words in (
        (f"{head}.{claims}.{signature[::-1]}", "signature"),
        (f"{head}.{claims}.{signature}", "expired"),
    ):
        with pytest.raises(Refused, match=words):
            claims_of({**form, "assertion": assertion})


def test_a_user_trades_the_refresh_token():
    outgoing = renewed(GoogleToken(credential_of(json.dumps(USER))), answered())

    form = {name: values[0] for name, values in parse_qs(outgoing.body.decode()).items()}
    names = ("client_id", "client_secret", "refresh_token")
    assert form == {"grant_type": "refresh_token", **{name: USER[name] for name in names}}


def test_a_token_is_renewed_five_minutes_before_its_end():
    clock = Clock()
    auth = GoogleToken(credential_of(file_of()), clock=clock)
    renewed(auth, answered())

    clock.now += 3599 - 301
    assert auth.renewal() is None
    clock.now += 2
    assert auth.renewal() is not None


def test_a_refused_token_is_forgotten_and_stays_secret():
    clock = Clock()
    auth = GoogleToken(credential_of(file_of()), clock=clock)
    renewed(auth, answered())
    clock.now += 120

    assert not auth.refused(Answer(403, {}, b""))
    assert auth.refused(Answer(401, {}, b""))
    assert auth.renewal() is not None
    assert "ya29.token-one-canary" in auth.secrets()


@pytest.mark.parametrize(
    ("credential", "sentence"),
    [
        (file_of(), "key or the account deleted or disabled"),
        (json.dumps(USER), "expired or was revoked. Sign in again"),
    ],
)
def test_a_grant_that_is_refused_says_what_to_do(credential, sentence):
    steps = GoogleToken(credential_of(credential)).renewal()
    next(steps)
    body = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}

    with pytest.raises(KeyRefused, match=sentence) as refusal:
        steps.send(Answer(400, {}, json.dumps(body).encode()))

    assert refusal.value.evidence == "invalid_grant: Invalid JWT Signature."


def test_a_token_service_that_is_down_is_temporary():
    steps = GoogleToken(credential_of(file_of())).renewal()
    next(steps)

    with pytest.raises(Overloaded):
        steps.send(Answer(503, {}, b'{"error": {"code": 503, "status": "UNAVAILABLE"}}'))


# --- secrets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [file_of(), json.dumps(USER, indent=2)], ids=["service_account", "authorized_user"])
def test_no_meaningful_part_of_the_json_is_left_in_what_google_echoes(text):
    """The JSON as it is, on one line, its key alone, and each line of the key: in every encoding."""
    credential = credential_of(text)
    values = json.loads(text)
    parts = [values[name] for name in ("private_key_id", "client_secret", "refresh_token") if name in values]
    lines = [line for line in values.get("private_key", "").splitlines() if "-----" not in line]

    for echo in (text, " ".join(text.split()), json.dumps(text), values.get("private_key", ""), "".join(lines)):
        left = scrub(f"Bad credential {echo}.", credential.secrets())
        assert not leaks(left.encode(), [*parts, *lines])


def test_what_is_not_secret_in_the_json_may_show():
    said = "Permission denied on project mesh-tests-1234 for mesh@mesh-tests-1234.iam.gserviceaccount.com."

    assert scrub(said, credential_of(file_of()).secrets()) == said


def test_no_secret_shows_in_the_texts_of_a_credential():
    for text in (file_of(), json.dumps(USER)):
        credential = credential_of(text)
        assert not leaks(f"{credential!r} {GoogleToken(credential)!r}".encode(), credential.secrets())


# --- this machine's own identity -------------------------------------------------------------------------


@pytest.fixture
def allowed():
    """`allowed("google")` is what the deployment would say."""
    before = sorted(ambient.allowed)
    yield lambda *names: ambient.allow(list(names))
    ambient.allow(before)


def test_no_identity_of_ours_is_lent_unless_the_deployment_says_so(allowed):
    allowed("aws", "azure")

    with pytest.raises(KeyRefused, match="MESH_AMBIENT_IDENTITY"):
        next(AmbientToken().renewal())


@pytest.mark.proves(kind="vertex", mode="chat", by="official SDK")
def test_googles_library_finds_the_identity_and_trades_it(allowed, upstream, monkeypatch, tmp_path):
    """The library reads a key file and talks to the token service that the file names."""
    allowed("google")
    path = tmp_path / "key.json"
    path.write_text(file_of(token_uri=upstream.url("google_identity") + "/token"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    clock = Clock()
    auth = AmbientToken("paying-project-1", clock=clock)
    steps = auth.renewal()

    step = next(steps)
    assert isinstance(step, InThread)
    with pytest.raises(StopIteration):
        steps.send(step.work())

    signed = auth.sign(CALL)
    assert signed.headers["Authorization"].startswith("Bearer ya29.")
    assert signed.headers["x-goog-user-project"] == "paying-project-1"
    assert auth.renewal() is None
    clock.now += 3600
    assert auth.renewal() is not None


def test_a_machine_without_identity_says_so(allowed, monkeypatch, tmp_path):
    allowed("google")
    path = tmp_path / "key.json"
    path.write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    with pytest.raises(KeyRefused, match="no Google identity"):
        next(AmbientToken().renewal()).work()
    assert PEM.startswith("-----BEGIN PRIVATE KEY-----")
