"""Hiding a connection's secrets in what its provider says: providers do echo keys."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = "[secret]"
PIECE = 12
"""So many characters of a secret in a row are hidden, even without the rest."""
SHORTEST = 4
"""What is shorter is no secret, and hiding it would only garble the words."""

_MASKED_BY_PROVIDER = re.compile(r"[\w-]*\*{3,}[\w-]*")
"""Providers show the ends of a refused key around stars."""


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without any secret or larger piece of one, whether plain or encoded in a usual way."""
    forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret) if form}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return _MASKED_BY_PROVIDER.sub(HIDDEN, _without_pieces(text, forms))


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode()
    yield secret
    yield from (raw.hex(), raw.hex().upper())
    for percent in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield from (percent, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), percent))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield from _base64_forms(raw)


def _base64_forms(raw: bytes) -> Iterator[str]:
    """As it looks alone and at each of the three places it can have inside a longer text."""
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(bytes(before) + raw).decode()
            yield encoded if before == 0 else ""
            whole = encoded.rstrip("=")[: (before + len(raw)) * 8 // 6]
            yield whole[-(-before * 8 // 6) :]


def _without_pieces(text: str, forms: Iterable[str]) -> str:
    pieces = {form[at : at + PIECE] for form in forms for at in range(len(form) - PIECE + 1)}
    kept, at = [], 0
    while at < len(text):
        start = at
        while text[at : at + PIECE] in pieces:
            at += 1
        if at > start:
            kept.append(HIDDEN)
            at += PIECE - 1
        else:
            kept.append(text[at])
            at += 1
    return "".join(kept)
