"""The single way to write down an administrative act, and to announce it to the gateway."""

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Model
from structlog.contextvars import get_contextvars

from access.announcements import publish
from access.models import AuditEvent, ConfigurationVersion, User

VERSION_CHANNEL = "mesh:configuration"


def record(
    actor: User | None,
    action: str,
    target: Model | None = None,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    actor_label: str = "",
    configures: bool = True,
) -> AuditEvent:
    """Write one audit row in the caller's transaction: no row, no change.

    `action` reads "connection.created", "key.revoked". `before` and `after` hold no secret, only the names
    of secrets that changed. `configures`: whether the gateway must take notice (a sign-in does not).
    """
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("audit.record must share the transaction of the change it records.")
    if configures:
        announce()
    around = get_contextvars()  # what the middleware noted about the request
    return AuditEvent.objects.create(
        actor=actor,
        actor_label=actor_label or (actor.get_username() if actor else "system"),
        action=action,
        object_type=str(target._meta.model_name) if target is not None else "",
        object_id=str(target.pk) if target is not None else "",
        object_label=str(target)[:200] if target is not None else "",
        before=before or {},
        after=after or {},
        address=around.get("address"),
        request_id=str(around.get("request_id", ""))[:64],
    )


def record_change(actor: User, action: str, target: Model, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Write one audit row with only what differs; none where nothing does."""
    names = [name for name, value in after.items() if value != before.get(name, [])]
    if names:
        was = {name: before[name] for name in names if name in before}
        record(actor, action, target, before=was, after={name: after[name] for name in names})


def announce() -> None:
    """Move the configuration's version in this transaction; every process then rebuilds its snapshot."""
    if not ConfigurationVersion.objects.filter(pk=1).update(number=F("number") + 1):
        ConfigurationVersion.objects.create(pk=1)
    transaction.on_commit(partial(publish, VERSION_CHANNEL))
