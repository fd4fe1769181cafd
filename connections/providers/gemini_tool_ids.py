"""Ids for the tool calls of models that give none, and that want a signature back with each call they made.

Clients send a call's id back as it is and little else, so the signature travels inside the id.
"""

import re
import secrets

MARK = "_signed_"
NO_SIGNATURE = "skip_thought_signature_validator"
"""What Google says to send for calls that another model made."""
_OTHER = re.compile(r"[^A-Za-z0-9]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def new_id(response: str, place: int, signature: object = None) -> str:
    """An id of letters that every client and every system takes, from the id of the answer and the call's place."""
    plain = f"call_{_OTHER.sub('', response) or secrets.token_hex(8)}_{place}"
    if not isinstance(signature, str) or not _BASE64.fullmatch(signature):
        return plain
    return f"{plain}{MARK}{signature.rstrip('=').translate(_TO_URL)}"


def signature_in(tool_id: str) -> str:
    """The signature as it came; empty: the id holds none."""
    _, mark, kept = tool_id.partition(MARK)
    if not mark or not _BASE64.fullmatch(kept):
        return ""
    plain = kept.translate(_FROM_URL)
    return plain + "=" * (-len(plain) % 4)


_TO_URL = str.maketrans("+/", "-_")
_FROM_URL = str.maketrans("-_", "+/")
