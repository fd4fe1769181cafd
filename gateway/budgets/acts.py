"""Acts on budgets: one transaction each, with its audit row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import Model as Row
from django.utils import timezone

from access import audit
from access.models import User
from connections import addresses
from connections.models import Model
from connections.providers.errors import AddressRefused
from gateway import subjects
from gateway.budgets import words
from gateway.models import Budget, BudgetOverride, BudgetWebhook, Extent, Route

MAX_AMOUNT = 10**16
"""Ten million dollars, or as many tokens as there are."""
MAX_HOURS = 24 * 366
MAX_REASON = 300
MOST_TOLD, MAX_THRESHOLD = 20, 1_000
SHORTEST_SECRET, LONGEST_SECRET = 16, 200


@transaction.atomic
def add_budget(actor: User, **columns: Any) -> Budget:
    row = Budget(**columns)
    row.subject = _check(row)
    _insert(row)
    audit.record(actor, "budget.added", row, after=described(row))
    return row


@transaction.atomic
def change_budget(actor: User, budget: Budget, **changes: Any) -> Budget:
    """Change what is named. Whom it is about and when it starts anew stay: what was counted would mean nothing."""
    row = Budget.objects.select_for_update().get(pk=budget.pk)
    before = described(row)
    for field, value in changes.items():
        setattr(row, field, value)
    if row.at_end != Budget.AtEnd.SWITCH:
        row.switch_to = ""
    _check(row, new=False)
    try:
        with transaction.atomic():
            row.save(update_fields=[*changes, "switch_to"])
    except IntegrityError:
        raise ValidationError({"at_end": [_there_is_one(row)]}) from None
    audit.record_change(actor, "budget.changed", row, before, described(row))
    return row


@transaction.atomic
def remove_budget(actor: User, row: Budget) -> None:
    audit.record(actor, "budget.removed", row, before=described(row))
    row.delete()


def remove_budgets_of(actor: User, leaving: Row) -> None:
    """What is deleted or revoked takes its budgets along, and those of what goes with it."""
    for scope, sort in subjects.SORTS.items():
        if isinstance(leaving, sort.rows().model):
            for row in Budget.objects.filter(scope=scope, subject=subjects.subject_of(sort, leaving)):
                remove_budget(actor, row)


@transaction.atomic
def override_budget(
    actor: User, budget: Budget, *, until: datetime, reason: str, extra: int | None = None
) -> BudgetOverride:
    """More than the budget allows, until a moment; `extra` None: no end at all."""
    problems = {}
    if not reason.strip():
        problems["reason"] = ["Say why; it stands in the audit log."]
    if until <= timezone.now():
        problems["until"] = ["This is in the past."]
    if extra is not None and (problem := _amount_problem(extra)):
        problems["extra"] = [problem]
    if problems:
        raise ValidationError(problems)
    row = BudgetOverride.objects.create(
        budget=budget, until=until, reason=reason.strip()[:MAX_REASON], extra=extra, made_by=actor.get_username()
    )
    audit.record(actor, "budget.overridden", budget, after=_override(row))
    return row


@transaction.atomic
def revoke_override(actor: User, row: BudgetOverride) -> None:
    """At once; twice is as good as once."""
    if BudgetOverride.objects.filter(pk=row.pk, revoked_at=None).update(revoked_at=timezone.now()):
        audit.record(actor, "budget.override_revoked", row.budget, before=_override(row))


@transaction.atomic
def tell_of_budget(
    actor: User, budget: Budget, *, thresholds: Sequence[int], emails: Sequence[str], url: str, secret: str = ""
) -> None:
    """At which percents to tell whom. Without a secret the stored one stays, unless the address changes."""
    row = Budget.objects.select_for_update().get(pk=budget.pk)
    webhook = BudgetWebhook.objects.filter(budget=row).first()
    if problems := _telling_problems(thresholds, emails, url, secret, webhook):
        raise ValidationError(problems)
    before = _told(row, webhook)
    row.thresholds, row.emails = sorted(set(thresholds)), list(emails)
    row.save(update_fields=["thresholds", "emails"])
    webhook = _store_webhook(row, webhook, url, secret)
    after = _told(row, webhook) | ({"webhook_secret": "replaced"} if secret and url else {})
    audit.record_change(actor, "budget.telling_changed", row, before, after)


def _store_webhook(row: Budget, webhook: BudgetWebhook | None, url: str, secret: str) -> BudgetWebhook | None:
    if not url:
        BudgetWebhook.objects.filter(budget=row).delete()
        return None
    webhook = webhook or BudgetWebhook(budget=row)
    webhook.url = url
    if secret:
        webhook.store_secret(secret)
    webhook.save()
    return webhook


def _told(row: Budget, webhook: BudgetWebhook | None) -> dict[str, Any]:
    return {"thresholds": row.thresholds, "emails": row.emails, "webhook": webhook.url if webhook else ""}


def _telling_problems(
    thresholds: Sequence[int], emails: Sequence[str], url: str, secret: str, webhook: BudgetWebhook | None
) -> dict[str, list[str]]:
    problems: dict[str, list[str]] = {}
    if len(thresholds) > MOST_TOLD or not all(1 <= one <= MAX_THRESHOLD for one in thresholds):
        problems["thresholds"] = [f"Up to {MOST_TOLD} numbers between 1 and {MAX_THRESHOLD}."]
    if len(emails) > MOST_TOLD or not all(_is_email(one) for one in emails):
        problems["emails"] = [f"Up to {MOST_TOLD} mail addresses."]
    if url and (refusal := _url_problem(url)):
        problems["url"] = [refusal]
    elif url and not secret and (webhook is None or webhook.url != url):
        problems["secret"] = ["Enter the secret that signs the messages; with a new address also an old one again."]
    if secret and not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
        problems["secret"] = [f"Use between {SHORTEST_SECRET} and {LONGEST_SECRET} random characters."]
    return problems


def _is_email(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def _url_problem(url: str) -> str:
    try:
        addresses.guard().url(url)
    except AddressRefused as refusal:
        return str(refusal)
    return ""


def described(row: Budget) -> dict[str, Any]:
    described = {"for": subjects.name(row), "what": row.what, "amount": row.amount, "window": words.window(row)}
    return {**described, "at_end": row.at_end, "switch_to": row.switch_to, "enabled": row.enabled}


def _override(row: BudgetOverride) -> dict[str, Any]:
    return {"extra": row.extra, "until": row.until.isoformat(), "reason": row.reason}


def _amount_problem(amount: int) -> str:
    return "" if 1 <= amount <= MAX_AMOUNT else f"The amount must lie between 1 and {MAX_AMOUNT:,}."


def _check(row: Budget, *, new: bool = True) -> str:
    """The subject as it is stored. Raises ValidationError."""
    subject, problems = subjects.checked(row) if new else (row.subject, {})
    if row.what not in Budget.What:
        problems["what"] = ["There is no such kind of budget."]
    if problem := _amount_problem(row.amount):
        problems["amount"] = [problem]
    problems |= _window_problems(row) | _end_problems(row)
    if problems or subject is None:
        raise ValidationError(problems)
    return subject


def _window_problems(row: Budget) -> dict[str, list[str]]:
    if row.window not in Budget.Window:
        return {"window": ["A budget is per day, week or month, or per hours of one's own."]}
    if row.window != Budget.Window.OWN:
        return {"hours": ["Leave this empty, or choose a window of one's own."]} if row.hours or row.anchor else {}
    problems = {}
    if not 1 <= row.hours <= MAX_HOURS:
        problems["hours"] = [f"A window has between 1 and {MAX_HOURS:,} hours."]
    if row.anchor is None:
        problems["anchor"] = ["Say when one of the windows begins."]
    elif not 2000 <= row.anchor.year <= 2200:
        problems["anchor"] = ["Choose a moment between the years 2000 and 2200."]
    return problems


def _end_problems(row: Budget) -> dict[str, list[str]]:
    if row.at_end not in Budget.AtEnd:
        return {"at_end": ["Calls are refused, switched, or let through with a warning."]}
    if row.at_end != Budget.AtEnd.SWITCH:
        return {"switch_to": ["Leave this empty, or choose to ask another model."]} if row.switch_to else {}
    there = Model.objects.filter(public_id=row.switch_to).exists() or Route.objects.filter(name=row.switch_to).exists()
    if not there:
        return {"switch_to": ["There is no such model or route."]}
    if row.scope == Extent.MODEL and row.subject == row.switch_to:
        return {"switch_to": ["This is the very model whose budget it is."]}
    return {}


def _insert(row: Budget) -> None:
    """The unique index has the last word, also between two admins at once."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise ValidationError({"amount": [_there_is_one(row)]}) from None


def _there_is_one(row: Budget) -> str:
    same = {name: getattr(row, name) for name in ("scope", "subject", "what", "window", "hours", "at_end")}
    there = Budget.objects.filter(**same).exclude(pk=row.pk).first()
    told = f" of {words.text(there)}{'' if there.enabled else ', switched off'}" if there else ""
    return f"There is such a budget already{told}. Change that one."
