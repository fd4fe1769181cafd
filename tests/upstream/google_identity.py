"""Google's token service: it checks a service account's statement or a user's refresh token, and gives a token."""

import base64
import json
import time
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.upstream.openai import Refused
from tests.upstream.wire import Plan, Request, Stream, Whole, dump

TOKEN_URL = "https://oauth2.googleapis.com/token"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN = "ya29.upstream-canary-3kZ8wQ1vXb7T"
"""What tokens begin with; each has its number behind."""
_PAIR = rsa.generate_private_key(65537, 2048)
PEM = _PAIR.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
KEY_ID = "canary5f0c8e1a9b7d6e4c3b2a1908f7e6d5c4"
ACCOUNT = {
    "type": "service_account",
    "project_id": "mesh-tests-1234",
    "private_key_id": KEY_ID,
    "private_key": PEM,
    "client_email": "mesh@mesh-tests-1234.iam.gserviceaccount.com",
    "client_id": "100200300400500600700",
    "auth_uri": "https://accounts.google.com/o/oauth2/auth",
    "token_uri": TOKEN_URL,
    "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
    "client_x509_cert_url": "https://www.googleapis.com/robot/v1/metadata/x509/mesh",
    "universe_domain": "googleapis.com",
}
USER = {
    "type": "authorized_user",
    "client_id": "764086051850-mesh.apps.googleusercontent.com",
    "client_secret": "GOCSPX-canary-7Kq2ZtXwLmB1vR",
    "refresh_token": "1//0canaryQ9fQ2LmX7vTzB4kWs1RcY6pHd8-Jg",
    "universe_domain": "googleapis.com",
}


def file_of(**changed: Any) -> str:
    """The key file of the account that the service knows."""
    return json.dumps({**ACCOUNT, **changed}, indent=2)


def claims_of(form: dict[str, str]) -> dict[str, Any]:
    """What a service account states about itself, once it is checked as Google does."""
    if form.get("grant_type") != JWT_GRANT:
        raise Refused(400, "Invalid grant_type", "unsupported_grant_type")
    try:
        head, claims, signature = form["assertion"].split(".")
        _PAIR.public_key().verify(_decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError, KeyError) as error:
        raise Refused(400, "Invalid JWT signature.", "invalid_grant") from error
    _check(json.loads(_decoded(head)), json.loads(_decoded(claims)))
    return json.loads(_decoded(claims))


def _check(head: dict[str, Any], claims: dict[str, Any]) -> None:
    if head != {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}:
        raise Refused(400, "Invalid JWT header.", "invalid_grant")
    if claims.keys() != {"iss", "scope", "aud", "iat", "exp"}:
        raise Refused(400, "Invalid JWT claims.", "invalid_grant")
    if claims["iss"] != ACCOUNT["client_email"]:
        raise Refused(400, "Invalid grant: account not found", "invalid_grant")
    if claims["aud"] != TOKEN_URL or claims["scope"] != SCOPE:
        raise Refused(400, "Invalid OAuth scope or ID token audience provided.", "invalid_scope")
    if claims["exp"] - claims["iat"] > 3600 or abs(claims["iat"] - time.time()) > 300 or claims["exp"] < time.time():
        raise Refused(400, "Invalid JWT: Token must be a short-lived token and not expired.", "invalid_grant")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class GoogleIdentity:
    """Its tokens say which request they were given for; `revoked` ones are refused by the other dialects."""

    base = ""

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            if request.method != "POST" or request.route != "/token":
                raise Refused(404, "Not Found", "not_found")
            return self._token(request)
        except Refused as refusal:
            return self.refusal(refusal)

    def refusal(self, refused: Refused) -> Whole:
        return Whole(refused.status, dump({"error": refused.code, "error_description": refused.message}))

    def _token(self, request: Request) -> Whole:
        if request.headers.get("content-type") != "application/x-www-form-urlencoded":
            raise Refused(400, "Bad content type.", "invalid_request")
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") == "refresh_token":
            self._check_user(form)
        else:
            claims_of(form)
        token = f"{TOKEN}-{request.number}"
        return Whole(200, dump({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}))

    def _check_user(self, form: dict[str, str]) -> None:
        names = ("client_id", "client_secret", "refresh_token")
        if {name: form.get(name) for name in names} != {name: USER[name] for name in names}:
            raise Refused(400, "Token has been expired or revoked.", "invalid_grant")
