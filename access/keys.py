"""API keys: `mesh_` + public id (10) + `_` + 32 random bytes in base 62 (43) + checksum (6).

The checksum lets anybody, a secret scanner too, tell a real key from a look-alike without asking us.
Stored: the public id and HMAC-SHA256(pepper, key). No slow hash: the secret is random.
"""

import hmac
import re
import secrets
import zlib
from datetime import datetime
from functools import lru_cache
from time import monotonic

from django.conf import settings
from django.utils import timezone

from access.models import ApiKey, User

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NOTED_EVERY = 60.0
"""Seconds between two notes of one key's use, in one process."""
_noted: dict[str, float] = {}
SHAPE = re.compile(r"mesh_([0-9A-Za-z]{10})_[0-9A-Za-z]{43}([0-9A-Za-z]{6})")


def _base62(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), 6)


def new_key() -> str:
    body = f"mesh_{_base62(secrets.randbits(59), 10)}_{_base62(int.from_bytes(secrets.token_bytes(32)), 43)}"
    return body + _checksum(body)


def digest(key: str) -> str:
    """What is stored and looked up instead of the key: 64 hex digits."""
    made = _peppered(settings.ROOTS["MESH_KEY_PEPPER"][0]).copy()
    made.update(key.encode("utf-8", "surrogatepass"))
    return made.hexdigest()


@lru_cache
def _peppered(pepper: str) -> hmac.HMAC:
    """An HMAC that has taken in the pepper, to be copied: half of the work for a call."""
    return hmac.new(pepper.encode(), digestmod="sha256")


def well_formed(key: str) -> bool:
    return bool(SHAPE.fullmatch(key)) and hmac.compare_digest(_checksum(key[:-6]), key[-6:])


def issue(
    owner: User,
    name: str,
    *,
    scopes: list[str],
    allowed_models: list[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for `owner`. Returns the row and the key itself, which nothing can show again."""
    key = new_key()
    row = ApiKey.objects.create(
        public_id=key[5:15],
        digest=digest(key),
        name=name,
        owner=owner,
        scopes=sorted(scopes),
        allowed_models=sorted(allowed_models or []),
        expires_at=expires_at,
    )
    return row, key


def find(key: str) -> ApiKey | None:
    """The live key row for a presented key. An unknown id does the same work as a wrong secret."""
    presented = digest(key)
    row = ApiKey.objects.live().select_related("owner").filter(public_id=key[5:15]).first()
    matches = hmac.compare_digest(row.digest if row else "0" * 64, presented)
    return row if row and matches and well_formed(key) else None


def due(public_ids: set[str]) -> set[str]:
    """Those whose use is to be noted again. They count as noted from now on: one statement a minute, under any load."""
    now = monotonic()
    found = {key for key in public_ids if key and now - _noted.get(key, -NOTED_EVERY) >= NOTED_EVERY}
    _noted.update(dict.fromkeys(found, now))
    return found


def note_use(public_ids: set[str]) -> None:
    """Keep when these keys were last used."""
    if public_ids:
        ApiKey.objects.filter(public_id__in=public_ids).update(last_used_at=timezone.now())


def revoke(row: ApiKey) -> None:
    row.revoked_at = timezone.now()
    row.save(update_fields=["revoked_at"])
