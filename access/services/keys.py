"""API keys: what a new one may do is never more than its owner, or the key that asks for it, may do."""

from collections.abc import Collection
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from access import audit, departures, keys, reach
from access.models import ApiKey, User
from access.principal import Principal
from access.roles import Permission, Scope
from access.services.names import checked


@transaction.atomic
def issue_key(
    actor: User,
    owner: User,
    name: str,
    *,
    scopes: Collection[str],
    allowed_models: Collection[str] = (),
    expires_at: datetime | None = None,
    asked_by: Principal | None = None,
) -> tuple[ApiKey, str]:
    """Make a key. Returns its row and the key itself, which nothing can show again.

    `asked_by`: the principal of the key that asks, when the API is used.
    """
    if owner != actor and not actor.may(Permission.MANAGE_ACCESS):
        raise ValidationError({"owner": ["You can make keys only for yourself."]})
    if not owner.may(Permission.MANAGE_OWN_KEYS):
        raise ValidationError({"owner": ["This user's role, or a lock on the account, does not allow keys."]})
    _check_expiry(expires_at, asked_by)
    _check_scopes(scopes, asked_by)
    _check_models(allowed_models, owner, asked_by)
    row, key = keys.issue(
        owner,
        checked(name, (), field="name"),
        scopes=[*scopes],
        allowed_models=[*allowed_models],
        expires_at=expires_at,
    )
    audit.record(actor, "key.created", row, after=_described(row))
    return row, key


@transaction.atomic
def revoke_key(actor: User, row: ApiKey) -> None:
    row = ApiKey.objects.select_for_update(of=("self",)).get(pk=row.pk)
    if row.revoked_at is None:
        departures.announce(actor, row)
        keys.revoke(row)
        audit.record(actor, "key.revoked", row, before=_described(row))


def _check_expiry(expires_at: datetime | None, asked_by: Principal | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError({"expires_at": ["This time has passed."]})
    latest = ApiKey.objects.filter(public_id=asked_by.key_id).values_list("expires_at", flat=True) if asked_by else []
    if any(end is not None and (expires_at is None or expires_at > end) for end in latest):
        raise ValidationError({"expires_at": ["The key that asks for this expires earlier."]})


def _check_scopes(scopes: Collection[str], asked_by: Principal | None) -> None:
    offered = asked_by.scopes if asked_by else frozenset(Scope.values)
    if not scopes:
        raise ValidationError({"scopes": ["Choose at least one."]})
    if excess := sorted(set(scopes) - offered):
        raise ValidationError({"scopes": [f"The key that asks for this has not {', '.join(excess)} itself."]})


def _check_models(allowed: Collection[str], owner: User, asked_by: Principal | None) -> None:
    if asked_by and asked_by.allowed_models is not None and not (allowed and asked_by.allowed_models >= set(allowed)):
        raise ValidationError({"allowed_models": ["The key that asks for this is limited to fewer models."]})
    if allowed and (unknown := sorted(set(allowed) - reach.usable(owner.principal))):
        raise ValidationError({"allowed_models": [f"{owner} cannot use {', '.join(unknown)}."]})


def _described(row: ApiKey) -> dict[str, object]:
    return {
        "key": row.public_id,
        "owner": row.owner.username,
        "scopes": row.scopes,
        "models": row.allowed_models or "all of the owner's",
        "expires": row.expires_at.isoformat() if row.expires_at else "never",
    }
