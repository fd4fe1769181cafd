"""Looks for secrets where none may be: in any usual encoding, and in any longer piece."""

import base64
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from django.contrib.sessions.models import Session
from django.db import connection

PIECE = 12


def encodings(secret: str) -> dict[str, bytes]:
    """The secret as a dump might hold it. Base64 without its ends, which depend on what stands beside the secret."""
    raw = secret.encode()
    found = {
        "raw": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "percent": quote(secret, safe="").encode(),
        "json": json.dumps(secret)[1:-1].encode(),
    }
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)[4:-4]
        found[f"base64+{shift}"] = coded
        found[f"base64url+{shift}"] = coded.replace(b"+", b"-").replace(b"/", b"_")
    return found


def leaks(dump: bytes, secrets: Iterable[str]) -> list[str]:
    """Which secrets stand in the dump, whole or in pieces, and how they are written there."""
    found = []
    for secret in secrets:
        for name, form in encodings(secret).items():
            pieces = {form[start : start + PIECE] for start in range(max(1, len(form) - PIECE + 1))}
            found += [f"{secret[:6]}… as {name}" for piece in pieces if piece in dump][:1]
    return found


def database_dump() -> bytes:
    """Everything in the test's database, as its own tools dump it, and the sessions decoded as well."""
    sessions = json.dumps([session.get_decoded() for session in Session.objects.all()], default=str).encode()
    return _dumped() + sessions


def _dumped() -> bytes:
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        name = Path(settings["NAME"])
        with connection.cursor() as cursor:
            text = "\n".join(cursor.connection.iterdump()).encode()
        files = [f"{name}{suffix}" for suffix in ("", "-wal") if Path(f"{name}{suffix}").exists()]
        # by another process: closing the file here would drop SQLite's locks on it, and other processes write to it
        return text + subprocess.run(["cat", *files], check=True, capture_output=True).stdout
    address = f"postgres://{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}"
    command = ["pg_dump", f"{address}/{settings['NAME']}"]
    return subprocess.run(command, check=True, capture_output=True).stdout
