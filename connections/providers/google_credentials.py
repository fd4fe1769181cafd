"""The JSON that Google gives out to sign in with, and the request for a token that each sort of it amounts to.

Only what holds its own secret is taken. Files that point elsewhere (`external_account` and its kin) may name
addresses to fetch and programs to run, so they are refused, and no address in a file is ever called.
"""

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import AfterValidator, SecretStr

from connections.providers import wire
from connections.providers.fields import SecretText
from connections.providers.oauth import TokenRequest, refresh_token
from connections.providers.shapes import string

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFE = 3600
"""Seconds; Google takes no longer ones."""
TOKEN_URLS = frozenset(
    {TOKEN_URL, "https://accounts.google.com/o/oauth2/token", "https://www.googleapis.com/oauth2/v4/token"}
)
"""What Google's own files ever named."""
COMMON = frozenset({"type", "client_id", "universe_domain", "token_uri", "auth_uri"})
FIELDS: Mapping[str, frozenset[str]] = {
    "service_account": COMMON
    | {"project_id", "private_key_id", "private_key", "client_email"}
    | {"auth_provider_x509_cert_url", "client_x509_cert_url"},
    "authorized_user": COMMON | {"client_secret", "refresh_token", "quota_project_id", "account", "scopes"},
}
"""What the files of each type hold. Anything else is a sign of another sort of file."""
PROJECTS = frozenset({"project_id", "quota_project_id"})
NEEDED: Mapping[str, tuple[str, ...]] = {
    "service_account": ("client_email", "private_key"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
}
PROJECT = re.compile(r"([a-z0-9.-]{1,60}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,20}")
"""An id, perhaps within a domain, or a number."""
POINTERS = frozenset(
    {"external_account", "external_account_authorized_user", "impersonated_service_account", "gdch_service_account"}
)


@dataclass(frozen=True)
class ServiceAccount:
    """Signs a statement about itself with its key."""

    email: str
    private_key: str = field(repr=False)
    private_key_id: str = field(default="", repr=False)
    project: str = ""
    quota_project: str = ""

    refusal = (
        "Google refused the service account's key. Was the key or the account deleted or disabled? "
        "This machine's clock must be right, too."
    )

    def token_request(self, url: str) -> TokenRequest:
        return TokenRequest(url, {"grant_type": JWT_GRANT, "assertion": self._assertion(int(time.time()))})

    def secrets(self) -> list[str]:
        """The key as one line, which holds every piece of its lines but the end of a short last one."""
        lines = [line for line in self.private_key.splitlines() if line and not line.startswith("-----")]
        return [text for text in ("".join(lines), *lines[-1:], self.private_key_id) if text]

    @cached_property
    def rsa_key(self) -> RSAPrivateKey:
        """Raises ValueError."""
        try:
            key = load_pem_private_key(self.private_key.encode(), None, unsafe_skip_rsa_key_validation=True)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("The private_key in the JSON cannot be read. Was the file pasted whole?") from None
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("The private_key in the JSON is no RSA key, as those of service accounts are.")
        return key

    def _assertion(self, now: int) -> str:
        head = {"alg": "RS256", "typ": "JWT"} | ({"kid": self.private_key_id} if self.private_key_id else {})
        claims = {"iss": self.email, "scope": SCOPE, "aud": TOKEN_URL, "iat": now, "exp": now + LIFE}
        signed = f"{_encoded(wire.encode(head))}.{_encoded(wire.encode(claims))}"
        signature = self.rsa_key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"


@dataclass(frozen=True)
class AuthorizedUser:
    """A person who agreed once, as `gcloud auth application-default login` writes it down."""

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)
    quota_project: str = ""

    project = ""
    refusal = "Google says that this sign-in has expired or was revoked. Sign in again there and store the new JSON."

    def token_request(self, url: str) -> TokenRequest:
        return refresh_token(url, self.refresh_token, self.client_id, self.client_secret)

    def secrets(self) -> list[str]:
        return [self.client_secret, self.refresh_token]


Credential = ServiceAccount | AuthorizedUser


def credential_of(text: str) -> Credential:
    """What the JSON holds. Raises ValueError with a sentence for the admin, without anything of the JSON's values."""
    content = _checked(text)
    told = {name: value for name, value in content.items() if isinstance(value, str)}
    if content["type"] == "authorized_user":
        needed = (told["client_id"], told["client_secret"], told["refresh_token"])
        return AuthorizedUser(*needed, told.get("quota_project_id", ""))
    needed_here = (told["client_email"], told["private_key"])
    account = ServiceAccount(*needed_here, told.get("private_key_id", ""), told.get("project_id", ""))
    account.rsa_key  # noqa: B018 - refuses what is no key
    return account


def _checked(text: str) -> Mapping[str, Any]:
    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ValueError("This is no JSON. Paste the whole file, from the first { to the last }.") from None
    kind = string(content, "type") if isinstance(content, dict) else ""
    if kind in POINTERS:
        raise ValueError(
            f"A file of type {kind} points to other addresses or programs and is not taken. "
            "Use the key of a service account."
        )
    if kind not in FIELDS:
        raise ValueError("The JSON's type must be service_account or authorized_user. Was another file pasted?")
    _check_fields(kind, content)
    return content  # type: ignore[no-any-return]


def _check_fields(kind: str, content: Mapping[str, Any]) -> None:
    if any(name not in FIELDS[kind] for name in content):
        raise ValueError(
            f"The JSON holds fields that files of type {kind} do not have. Paste the file as Google made it."
        )
    for name in NEEDED[kind]:
        if not string(content, name):
            raise ValueError(f"The JSON lacks {name}. Paste the file as Google made it.")
    if "token_uri" in content and string(content, "token_uri") not in TOKEN_URLS:
        raise ValueError("The JSON's token_uri is not Google's. The key would be sent there, so this is refused.")
    if content.get("universe_domain", "googleapis.com") != "googleapis.com":
        raise ValueError("The JSON is for another universe_domain than googleapis.com, which is not taken.")
    for name in content.keys() - {"private_key"}:
        _check_value(name, string(content, name))


def _check_value(name: str, value: str) -> None:
    """What stands in addresses and headers holds nothing that could change them."""
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"The JSON's {name} has letters that do not belong there.")
    if name in PROJECTS and value and not PROJECT.fullmatch(value):
        raise ValueError(f"The JSON's {name} is no project id.")
    if "://" in value and not _is_google(name, value):
        raise ValueError(f"The JSON's {name} is an address outside Google, which is not taken.")


def _is_google(name: str, value: str) -> bool:
    if name not in COMMON and not name.endswith("_url") and name != "scopes":
        return False
    host = urlsplit(value).netloc
    return host == "accounts.google.com" or host.endswith(".googleapis.com")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _taken(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        credential_of(value.get_secret_value())
    return value


CredentialText = Annotated[SecretText, AfterValidator(_taken)]
"""The setting that holds the JSON; empty stays empty."""
