"""What a new installation begins with: an admin and an API key, written down once for whoever started it."""

import json
from pathlib import Path

from django.conf import settings
from django.db import transaction

from access import audit, keys
from access.models import User
from access.roles import Role, Scope
from access.services.users import readable_password
from llmmesh.files import write_privately

USERNAME = "admin"


def path() -> Path:
    return settings.DATA_DIR / "first-run.json"


def create_admin() -> bool:
    """On a database without users, make the admin and a key, and write both to `path()`. Returns whether it did."""
    if User.objects.exists():
        return False
    password = readable_password()
    with transaction.atomic():
        admin = User.objects.create_user(USERNAME, password=password, role=Role.ADMIN)
        audit.record(None, "user.created", admin, after={"role": admin.role})
        row, key = keys.issue(admin, "First key", scopes=list(Scope.values))
        audit.record(None, "key.created", row, after={"scopes": row.scopes})
        found = {"url": settings.BASE_URL, "username": USERNAME, "password": password, "api_key": key}
        write_privately(path(), json.dumps(found, indent=2) + "\n")
    return True


def hint(new: bool) -> list[str]:
    """Lines for the terminal: the credentials on the first start, later only where they stand."""
    if not new:
        return [f"The first admin and API key stand in {path()}."] if path().exists() else []
    found = json.loads(path().read_text())
    return [
        f"User name  {found['username']}",
        f"Password   {found['password']}",
        f"API key    {found['api_key']}",
        f"These stand in {path()}. Back up {settings.DATA_DIR / 'secrets'}: without it no stored credential opens.",
    ]
