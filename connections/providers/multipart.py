"""Forms with a boundary between their fields, for systems that take no JSON (RFC 7578)."""

import hashlib
from collections.abc import Mapping


def encode(fields: Mapping[str, str]) -> tuple[str, bytes]:
    """The content type and the body; the boundary is made from the fields, so the same form has the same bytes."""
    digest = hashlib.sha256(repr(sorted(fields.items())).encode()).hexdigest()
    boundary = f"mesh-{digest[:32]}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return f"multipart/form-data; boundary={boundary}", "".join([*parts, f"--{boundary}--\r\n"]).encode()
