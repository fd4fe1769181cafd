"""Acts on limits: one transaction each, with its audit row."""

from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction

from access import audit
from access.models import ApiKey, User
from connections.models import Connection, Model
from gateway.models import Limit

PERIODS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
MAX_AMOUNT = 10**12
TOGETHER = {Limit.Scope.ALL, Limit.Scope.EACH_USER, Limit.Scope.EACH_KEY}
"""Scopes that name nobody."""


@transaction.atomic
def set_limit(actor: User, *, scope: str, what: str, amount: int, subject: str = "", seconds: int = 60) -> Limit:
    """Make a limit, or change the amount of the one that is there."""
    seconds = 0 if what == Limit.What.PARALLEL else seconds
    _check(scope, what, amount, subject, seconds)
    found = Limit.objects.select_for_update().filter(scope=scope, subject=subject, what=what, seconds=seconds).first()
    before = _described(found) if found else {}
    row = found or Limit(scope=scope, subject=subject, what=what, seconds=seconds)
    row.amount, row.enabled = amount, True
    row.save()
    audit.record(actor, "limit.set", row, before=before, after=_described(row))
    return row


@transaction.atomic
def remove_limit(actor: User, row: Limit) -> None:
    audit.record(actor, "limit.removed", row, before=_described(row))
    row.delete()


def _check(scope: str, what: str, amount: int, subject: str, seconds: int) -> None:
    problems: dict[str, list[str]] = {}
    if scope not in Limit.Scope:
        problems["scope"] = ["There is no such scope."]
    elif (scope in TOGETHER) == bool(subject):
        problems["subject"] = ["Leave this empty." if subject else "Say whom or what the limit is about."]
    elif not _exists(scope, subject):
        problems["subject"] = ["There is no such user, key, group, model or connection."]
    if what not in Limit.What:
        problems["what"] = ["There is no such kind of limit."]
    elif what != Limit.What.PARALLEL and seconds not in PERIODS:
        problems["seconds"] = ["A limit is per second (1), minute (60), hour (3600) or day (86400)."]
    if not 1 <= amount <= MAX_AMOUNT:
        problems["amount"] = [f"The limit must lie between 1 and {MAX_AMOUNT:,}."]
    if problems:
        raise ValidationError(problems)


def _exists(scope: str, subject: str) -> bool:
    match scope:
        case Limit.Scope.USER:
            return subject.isdecimal() and User.objects.filter(pk=subject).exists()
        case Limit.Scope.GROUP:
            return subject.isdecimal() and Group.objects.filter(pk=subject).exists()
        case Limit.Scope.KEY:
            return ApiKey.objects.filter(public_id=subject).exists()
        case Limit.Scope.MODEL:
            return Model.objects.filter(public_id=subject).exists()
        case Limit.Scope.CONNECTION:
            return _is_uuid(subject) and Connection.objects.filter(pk=subject).exists()
    return True


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _described(row: Limit) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("scope", "subject", "what", "amount", "seconds")}
