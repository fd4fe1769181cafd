"""What must be true before anything is served: an up-to-date database, the right keys, an admin."""

from collections.abc import Callable

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from connections.models import KeyCheck
from connections.secrets import Unreadable
from llmmesh import first_run


def prepare(say: Callable[[str], object]) -> bool:
    """Bring the database up to date and create the first admin. Returns whether this is the first start."""
    steps = pending_migrations()
    if steps:
        say(f"Preparing the database: {steps} steps …")
        call_command("migrate", interactive=False, verbosity=0)
    confirm_keys()
    return first_run.create_admin()


def require_prepared() -> None:
    """For a machine that runs one part: refuse to serve from a database nobody has prepared."""
    if steps := pending_migrations():
        raise CommandError(f"The database lacks {steps} migrations. Run `manage.py prepare` once, then start again.")
    confirm_keys()


def pending_migrations() -> int:
    try:
        executor = MigrationExecutor(connection)
    except OperationalError as error:
        raise CommandError(f"The database does not answer: {error}") from error
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def confirm_keys() -> None:
    try:
        KeyCheck.confirm()
    except Unreadable as error:
        raise CommandError(
            f"MESH_ENCRYPTION_KEYS does not fit this database: {error} Put back the key that was used before."
        ) from error
