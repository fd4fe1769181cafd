"""Acts on a connection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from access import audit, departures
from access.models import ApiKey, User
from connections import figures, secrets
from connections.account import Account, settle
from connections.models import Connection, NotLent, State
from connections.providers import registry
from connections.providers.contract import Provider
from connections.services.grants import grant
from connections.services.models import ModelChoice, add_models
from connections.services.options import OPTIONS, checked_options, free_slug

UNREADABLE = "The stored credential cannot be decrypted. Enter it again."


class Conflict(Exception):
    """Somebody else changed the row since it was read."""

    def __init__(self) -> None:
        super().__init__(
            "Somebody else changed this connection while you were editing it. Nothing was saved. "
            "Your input is below; save again to put it over the newer version."
        )


class InUse(Exception):
    """Other connections work with the credential of this one."""

    def __init__(self, borrowers: Sequence[str]) -> None:
        super().__init__(f"It lends its credential to {', '.join(borrowers)}. Give them another one first.")


class Unusable(Exception):
    """The stored row makes no provider; the text says what to do."""


@transaction.atomic
def create_connection(
    actor: User,
    account: Account,
    options: Mapping[str, Any],
    *,
    models: Iterable[ModelChoice] = (),
    groups: Iterable[Group] = (),
    paused: bool = False,
) -> Connection:
    cleaned = checked_options(options)
    connection = Connection(
        kind=account.kind.kind, settings=account.settings, slug=free_slug(cleaned["name"]), paused=paused, **cleaned
    )
    connection.store_credential(account.secrets)
    _save_named(connection, insert=True)
    audit.record(actor, "connection.created", connection, after=_described(connection, account.secrets))
    add_models(actor, connection, models)
    for group in groups:
        grant(actor, group, connection)
    return connection


@transaction.atomic
def update_connection(
    actor: User,
    connection: Connection,
    *,
    revision: int,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    typed: Mapping[str, Any] | None = None,
) -> Connection:
    """Change what is given of a connection that still is at `revision`. Raises Conflict when it is not.

    `typed`: secrets by name; a blank one keeps what is stored, None removes it.
    """
    row = _claim(connection, revision)
    previous = stored_account(row)
    before = _described(row)
    for name, value in checked_options(options or {}, row).items():
        setattr(row, name, value)
    if settings is not None or typed:
        _put_account(row, settle_again(row, row.settings if settings is None else settings, typed or {}))
    _save_named(row)
    _check_borrowers_soon(row)
    changed = _changed_secrets(row, previous)
    audit.record_change(actor, "connection.changed", row, before, {**_described(row), "secrets_changed": changed})
    return row


def stored_account(connection: Connection) -> Account:
    """Raises Unusable when the provider is not installed any more."""
    kind = registry.providers().get(connection.kind)
    if kind is None:
        raise Unusable(_not_installed(connection))
    return Account(kind, connection.settings, stored_secrets(connection))


def uses_host(connection: Connection) -> bool:
    """Whether its calls carry the identity of this machine, because it has none of its own."""
    try:
        account = stored_account(connection)
        return account.kind.Settings.model_validate({**account.settings, **account.secrets}).uses_host
    except (Unusable, pydantic.ValidationError):
        return False


def _not_installed(connection: Connection) -> str:
    return f"The provider “{connection.kind}” is not installed here. Install its package."


def stored_secrets(connection: Connection) -> dict[str, Any]:
    """By name; empty where they do not open, so that they must be typed again."""
    try:
        return dict(connection.credential())
    except secrets.Unreadable:
        return {}


def settle_again(connection: Connection, settings: Mapping[str, Any], typed: Mapping[str, Any]) -> Account:
    """What a change of a connection's settings and secrets would amount to. Raises SettingsRefused."""
    stored = stored_account(connection)
    return settle(stored.kind, settings, typed, stored=stored.secrets, sent_to=stored.settings)


def _claim(connection: Connection, revision: int) -> Connection:
    """Move the revision on, which also locks the row until the transaction ends."""
    rows = Connection.objects.filter(pk=connection.pk)
    if not rows.filter(revision=revision).update(revision=F("revision") + 1):
        raise Conflict
    return rows.get()


def _put_account(row: Connection, account: Account) -> None:
    row.settings = account.settings
    row.store_credential(account.secrets)
    row.state, row.cause, row.evidence = State.UNKNOWN, "", ""
    row.check_due = timezone.now()


def _changed_secrets(row: Connection, previous: Account) -> list[str]:
    now = stored_account(row).secrets
    return sorted(name for name in {*now, *previous.secrets} if now.get(name) != previous.secrets.get(name))


def _save_named(connection: Connection, *, insert: bool = False) -> None:
    """The unique index has the last word about the name, also between two admins at once."""
    try:
        with transaction.atomic():
            if insert:
                connection.save(force_insert=True)
            else:
                connection.save(update_fields=CHANGED_FIELDS)
    except IntegrityError as error:
        raise ValidationError({"name": ["Another connection has this name."]}) from error


CHANGED_FIELDS = [
    *OPTIONS, "settings", "sealed", "sealed_revision", "state", "cause", "evidence", "check_due", "updated_at"
]  # fmt: skip


@transaction.atomic
def set_paused(actor: User, connection: Connection, paused: bool) -> Connection:
    rows = Connection.objects.filter(pk=connection.pk)
    if rows.exclude(paused=paused).update(paused=paused, check_due=timezone.now(), revision=F("revision") + 1):
        audit.record(actor, "connection.paused" if paused else "connection.resumed", connection)
        _check_borrowers_soon(connection)
    return rows.get()


def _check_borrowers_soon(connection: Connection) -> None:
    """What happens to a lender happens to them."""
    ids = [borrower.pk for borrower in Connection.objects.borrowers(connection)]
    Connection.objects.filter(pk__in=ids).update(check_due=timezone.now())


@dataclass(frozen=True, slots=True)
class Consequences:
    """What stops working when a connection goes."""

    models: int
    groups: list[str]
    keys: list[str]
    jobs: int
    borrowers: list[str]
    """Connections that work with its credential; as long as there are any, it cannot go."""


def consequences(connection: Connection) -> Consequences:
    public_ids = set(connection.models.values_list("public_id", flat=True))
    keys = [key.name for key in ApiKey.objects.live() if public_ids.intersection(key.allowed_models)]
    groups = Group.objects.filter(grants__connection=connection).distinct().values_list("name", flat=True)
    return Consequences(
        len(public_ids), sorted(groups), sorted(keys), figures.ledger().waiting_jobs(public_ids), _borrowers(connection)
    )


def _borrowers(connection: Connection) -> list[str]:
    return sorted(borrower.name for borrower in Connection.objects.borrowers(connection))


@transaction.atomic
def delete_connection(actor: User, connection: Connection) -> None:
    """Raises InUse while others borrow from it."""
    if names := _borrowers(connection):
        raise InUse(names)
    for model in connection.models.all():
        departures.announce(actor, model)
    departures.announce(actor, connection)
    audit.record(actor, "connection.deleted", connection, before=_described(connection))
    connection.delete()


def provider_of(connection: Connection) -> Provider:
    """The connection's adapter. A credential that does not open marks the connection failing first."""
    try:
        return connection.provider()
    except secrets.Unreadable:
        mark_unreadable(connection)
        raise Unusable(UNREADABLE) from None
    except pydantic.ValidationError:
        raise Unusable("The stored settings do not fit any more. Save them again.") from None
    except NotLent as error:
        raise Unusable(str(error)) from None
    except KeyError:
        raise Unusable(_not_installed(connection)) from None


@transaction.atomic
def mark_unreadable(connection: Connection) -> None:
    rows = Connection.objects.filter(pk=connection.pk).exclude(state=State.FAILING, cause=UNREADABLE)
    if rows.update(state=State.FAILING, cause=UNREADABLE, evidence="", checked_at=timezone.now()):
        audit.record(None, "credential.unreadable", connection, configures=False)


def _described(connection: Connection, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All that is not secret, and at most the names of what is."""
    described = {name: getattr(connection, name) for name in (*OPTIONS, "slug", "kind", "paused")}
    described |= {f"settings.{name}": value for name, value in connection.settings.items()}
    return described if stored is None else {**described, "secrets_changed": sorted(stored)}
