"""Snowflake's key-pair sign-in: a token that we sign ourselves, so nobody has to be asked for it."""

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from msgspec import structs

from connections.providers import wire
from connections.providers.calls import Answer, Outgoing

LIFE = 3600
"""Seconds; Snowflake takes no longer one."""
EARLY = 300


def private_key(pem: str, passphrase: str = "") -> rsa.RSAPrivateKey:
    """Raises ValueError with a sentence for the admin."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), passphrase.encode() or None)
    except TypeError as error:
        secured = "is encrypted: fill in its passphrase" if not passphrase else "has no passphrase: leave it empty"
        raise ValueError(f"The private key {secured}.") from error
    except ValueError as error:
        raise ValueError("This is no private key in PEM, or the passphrase is wrong.") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("Snowflake takes RSA keys only.")
    return key


@dataclass(eq=False, slots=True, weakref_slot=True)
class KeyPair:
    """Signs requests as a user of an account, with a token that is made anew before it ends."""

    account: str
    user: str
    key: rsa.RSAPrivateKey = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent beside the token."""
    _token: str = field(default="", repr=False)
    _renewed: float = 0.0

    def renewal(self) -> None:
        return None

    def sign(self, outgoing: Outgoing) -> Outgoing:
        now = time.time()
        if not self._token or now - self._renewed > LIFE - EARLY:
            self._token, self._renewed = self._made(int(now)), now
        proof = {"Authorization": f"Bearer {self._token}", **self.headers}
        return structs.replace(outgoing, headers={**outgoing.headers, **proof})

    def refused(self, answer: Answer) -> bool:
        return False

    def _made(self, now: int) -> str:
        name = f"{self.account.partition('.')[0].upper()}.{self.user.upper()}"
        claims = {"iss": f"{name}.{self._fingerprint()}", "sub": name, "iat": now, "exp": now + LIFE}
        head = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}"
        return f"{head}.{_text(self.key.sign(head.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def _fingerprint(self) -> str:
        public = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"SHA256:{base64.b64encode(hashlib.sha256(public).digest()).decode()}"


def _part(content: Mapping[str, Any]) -> str:
    return _text(wire.encode(content))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
