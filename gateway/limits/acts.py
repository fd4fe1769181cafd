"""Acts on limits: one transaction each, with its audit row."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Model as Row

from access import audit
from access.models import User
from gateway import subjects
from gateway.models import PERIODS, Limit

MAX_AMOUNT = 10**12
USUAL_PERIOD = 60


@transaction.atomic
def add_limit(
    actor: User, *, scope: str, what: str, amount: int, subject: str = "", seconds: int | None = None
) -> Limit:
    """`seconds`: the time in which `amount` is given anew; None: a minute, or none for parallel calls."""
    if seconds is None:
        seconds = 0 if what == Limit.What.PARALLEL else USUAL_PERIOD
    row = Limit(scope=scope, subject=subject, what=what, amount=amount, seconds=seconds)
    row.subject = _check(row)
    _insert(row)
    audit.record(actor, "limit.added", row, after=_described(row))
    return row


@transaction.atomic
def change_limit(actor: User, limit: Limit, *, amount: int | None = None, enabled: bool | None = None) -> Limit:
    """Another amount, or on and off; what is None stays."""
    row = Limit.objects.select_for_update().get(pk=limit.pk)
    before = _described(row)
    if amount is not None:
        if problem := amount_problem(amount):
            raise ValidationError({"amount": [problem]})
        row.amount = amount
    if enabled is not None:
        row.enabled = enabled
    row.save(update_fields=["amount", "enabled"])
    audit.record_change(actor, "limit.changed", row, before, _described(row))
    return row


@transaction.atomic
def remove_limit(actor: User, row: Limit) -> None:
    audit.record(actor, "limit.removed", row, before=_described(row))
    row.delete()


def remove_limits_of(actor: User, leaving: Row) -> None:
    """What is deleted or revoked takes its limits along, and those of what goes with it."""
    for scope, sort in subjects.SORTS.items():
        if isinstance(leaving, sort.rows().model):
            for row in Limit.objects.filter(scope=scope, subject=subjects.subject_of(sort, leaving)):
                remove_limit(actor, row)


def amount_problem(amount: int) -> str:
    return "" if 1 <= amount <= MAX_AMOUNT else f"The limit must lie between 1 and {MAX_AMOUNT:,}."


def _check(row: Limit) -> str:
    """The subject as it is stored. Raises ValidationError."""
    subject, problems = subjects.checked(row)
    if row.what not in Limit.What:
        problems["what"] = ["There is no such kind of limit."]
    elif row.what == Limit.What.PARALLEL and row.seconds:
        problems["seconds"] = ["Parallel calls have no period; leave it out."]
    elif row.what != Limit.What.PARALLEL and row.seconds not in PERIODS:
        problems["seconds"] = ["A limit is per second (1), minute (60), hour (3600) or day (86400)."]
    if problem := amount_problem(row.amount):
        problems["amount"] = [problem]
    if problems or subject is None:
        raise ValidationError(problems)
    return subject


def _insert(row: Limit) -> None:
    """The unique index has the last word, also between two admins at once."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        same = {"scope": row.scope, "subject": row.subject, "what": row.what, "seconds": row.seconds}
        there = Limit.objects.filter(**same).first()
        told = f" of {there.text}{'' if there.enabled else ', switched off'}" if there else ""
        raise ValidationError({"amount": [f"There is such a limit already{told}. Change that one."]}) from None


def _described(row: Limit) -> dict[str, Any]:
    described = {"for": subjects.name(row), "what": row.what, "amount": row.amount, "per": row.period}
    return {**described, "enabled": row.enabled}
