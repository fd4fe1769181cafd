"""Acts on grants: which groups may use what."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction

from access import audit
from access.models import User
from connections.models import Connection, Grant, Model


@transaction.atomic
def grant(actor: User, group: Group, connection: Connection, model: Model | None = None) -> Grant:
    """Let a group use a connection, or one model of it. Granting twice changes nothing."""
    if model is not None and model.connection_id != connection.pk:
        raise ValidationError({"model": ["This model belongs to another connection."]})
    row, created = Grant.objects.get_or_create(group=group, connection=connection, model=model)
    if created:
        audit.record(actor, "grant.added", connection, after=_described_grant(row))
    return row


@transaction.atomic
def revoke(actor: User, row: Grant) -> None:
    audit.record(actor, "grant.removed", row.connection, before=_described_grant(row))
    row.delete()


@transaction.atomic
def set_groups(actor: User, connection: Connection, groups: Iterable[Group]) -> None:
    """Grant the whole connection to exactly these groups; grants of single models stay."""
    wanted = {group.pk: group for group in groups}
    for row in connection.grants.filter(model=None).select_related("group", "connection"):
        if wanted.pop(row.group_id, None) is None:
            revoke(actor, row)
    for group in wanted.values():
        grant(actor, group, connection)


def _described_grant(row: Grant) -> dict[str, Any]:
    return {"group": row.group.name, "model": row.model.public_id if row.model else None}
