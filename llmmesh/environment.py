"""What the process is told from outside: `MESH_*` names, read strictly, and the root secrets.

Each root secret serves one purpose (KEK, key pepper, audit MAC, webhook MAC, Django's own key). It comes
from `NAME`, from the file named by `NAME_FILE`, or from `<data folder>/secrets/<name>`; `manage.py up`
creates the missing files on the first start of a single machine.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

ROOT_SECRETS = (
    "MESH_SECRET_KEY",
    "MESH_ENCRYPTION_KEYS",
    "MESH_KEY_PEPPER",
    "MESH_AUDIT_KEY",
    "MESH_WEBHOOK_KEY",
)
"""`MESH_ENCRYPTION_KEYS` may list several, parted by commas: the first one writes, all of them read."""

OPTIONS = (
    "MESH_ALLOWED_HOSTS",
    "MESH_AMBIENT_IDENTITY",
    "MESH_BASE_URL",
    "MESH_CUSTOM_CLASSES",
    "MESH_DATA_DIR",
    "MESH_DEBUG",
    "MESH_DRAIN_SECONDS",
    "MESH_ENGINE_HOST",
    "MESH_ENGINE_PYTHON",
    "MESH_HOST",
    "MESH_LEDGER_AWAY",
    "MESH_LOCAL_MODEL",
    "MESH_LOG_LEVEL",
    "MESH_MAIL_FROM",
    "MESH_MAIL_URL",
    "MESH_MAX_CALLS",
    "MESH_MAX_PAGES",
    "MESH_MODEL_FOLDERS",
    "MESH_PICTURE_ADDRESSES",
    "MESH_PRIVATE_ADDRESSES",
    "MESH_TRUSTED_PROXIES",
    "MESH_USAGE_DAYS",
    "MESH_WEB_WORKERS",
)

LOOPBACK = "127.0.0.0/8,::1/128,localhost"
"""What `up` lets providers be reached at when it runs everything on one machine and nothing else is set."""
MINIMUM_BYTES = 32
EXAMPLES = ("change-me", "changeme", "example", "secret", "insecure")


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """A misspelt setting is worse than a missing one: name it and stop."""
    known = {*OPTIONS, *ROOT_SECRETS, *(f"{name}_FILE" for name in ROOT_SECRETS)}
    unknown = sorted(name for name in environ if name.startswith("MESH_") and name not in known)
    if unknown:
        raise ImproperlyConfigured(f"Unknown setting {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")


def refuse_too_little(least: float, **given: float) -> None:
    """Such a number makes no sense: name its setting and stop."""
    for name, value in given.items():
        if not value >= least:  # not even "nan"
            raise ImproperlyConfigured(f"{name} must be at least {least:g}; it is {value:g}.")


def broker_url(redis_url: str) -> str:
    """The same server in Celery's spelling: it names a Unix socket and the database there differently."""
    return redis_url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)


def secret_path(data_dir: Path, name: str) -> Path:
    return data_dir / "secrets" / name.removeprefix("MESH_").lower()


def create_missing_secrets(data_dir: Path, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Write a random secret for each root that has none yet. Returns the files made."""
    made = []
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ROOT_SECRETS:
        path = secret_path(data_dir, name)
        if environ.get(name) or environ.get(f"{name}_FILE") or path.exists():
            continue
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        made.append(path)
    return made


def read_roots(data_dir: Path, environ: Mapping[str, str] = os.environ) -> dict[str, list[str]]:
    """All root secrets by name. Refuses missing, short, example and shared ones, and names the setting."""
    roots = {name: _values(name, data_dir, environ) for name in ROOT_SECRETS}
    owner: dict[str, str] = {}
    for name, values in roots.items():
        for value in values:
            if value in owner:
                raise ImproperlyConfigured(f"{name} repeats a value of {owner[value]}: give each its own secret.")
            owner[value] = name
    return roots


def _values(name: str, data_dir: Path, environ: Mapping[str, str]) -> list[str]:
    text = _text(name, data_dir, environ)
    values = [value.strip() for value in text.split(",")] if name == "MESH_ENCRYPTION_KEYS" else [text]
    for value in values:
        if any(example in value.lower() for example in EXAMPLES):
            raise ImproperlyConfigured(f"{name} still holds an example value. Use a random one.")
        if len(value.encode()) < MINIMUM_BYTES:
            raise ImproperlyConfigured(f"{name} must have at least {MINIMUM_BYTES} bytes; it has {len(value)}.")
    return values


def _text(name: str, data_dir: Path, environ: Mapping[str, str]) -> str:
    if name in environ:
        return environ[name].strip()
    path = Path(environ.get(f"{name}_FILE") or secret_path(data_dir, name))
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name} is not set. Set it or {name}_FILE, or start once with `manage.py up`, which creates it."
        ) from error
