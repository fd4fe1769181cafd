"""Encryption at rest for provider credentials.

Envelope: a random 256-bit data key per write encrypts the values with AES-256-GCM; the data key is wrapped
by a key-encryption key (KEK). Both are bound to their place by the additional data
`app|table|row uuid|field|format|revision`, so a ciphertext copied to another row, field or revision does
not open. Layout: format (1) | KEK id (4) | nonce (12) | wrapped data key (48) | nonce (12) | ciphertext.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

FORMAT = 1
KEY_ID, NONCE, WRAPPED = 4, 12, 48


class Unreadable(Exception):
    """The stored credential does not open here: moved, altered, or written with a key we do not have."""


class Secrets(Mapping[str, str]):
    """Decrypted values on their way to one call. Never shown by repr, never pickled."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Secrets: {', '.join(self._values) or 'none'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Secrets are not picklable.")


def _kek(secret: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"llmmesh|credential-kek|1").derive(secret.encode())


def _ring() -> dict[bytes, AESGCM]:
    """KEKs by id, the writing one first."""
    keks = [_kek(secret) for secret in settings.ROOTS["MESH_ENCRYPTION_KEYS"]]
    return {hashlib.sha256(kek).digest()[:KEY_ID]: AESGCM(kek) for kek in keks}


def binding(table: str, row: Any, field: str, revision: int) -> bytes:
    return f"llmmesh|{table}|{row}|{field}|{FORMAT}|{revision}".encode()


def seal(values: Mapping[str, str], bound_to: bytes) -> bytes:
    key_id, kek = next(iter(_ring().items()))
    data_key = AESGCM.generate_key(256)
    wrap_nonce, nonce = os.urandom(NONCE), os.urandom(NONCE)
    wrapped = kek.encrypt(wrap_nonce, data_key, bound_to)
    plain = json.dumps(dict(values), ensure_ascii=False).encode()
    return bytes([FORMAT]) + key_id + wrap_nonce + wrapped + nonce + AESGCM(data_key).encrypt(nonce, plain, bound_to)


def unseal(sealed: bytes, bound_to: bytes) -> Secrets:
    if not sealed or sealed[0] != FORMAT:
        raise Unreadable("The stored credential has an unknown format.")
    rest = memoryview(sealed)[1:]
    key_id, rest = bytes(rest[:KEY_ID]), rest[KEY_ID:]
    kek = _ring().get(key_id)
    if kek is None:
        raise Unreadable(f"The stored credential was written with key {key_id.hex()}, which is not configured.")
    wrap_nonce, wrapped, nonce = rest[:NONCE], rest[NONCE : NONCE + WRAPPED], rest[NONCE + WRAPPED :][:NONCE]
    try:
        data_key = kek.decrypt(wrap_nonce, wrapped, bound_to)
        plain = AESGCM(data_key).decrypt(nonce, rest[2 * NONCE + WRAPPED :], bound_to)
    except (InvalidTag, ValueError) as error:
        raise Unreadable("The stored credential does not belong to this row or was altered.") from error
    return Secrets(json.loads(plain))
