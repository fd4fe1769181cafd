"""Tells of budgets that reach a threshold: by mail, and by signed messages to an address of the admin's.

Every few seconds somebody looks for windows that have come so far. The row of a notice exists once per window and
threshold, however many look; whoever claims it tells, and tells again later what could not be told.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import BigIntegerField, F
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Now
from django.urls import reverse

from connections import runtime
from connections.providers.calls import Outgoing
from connections.providers.errors import ProviderError
from connections.secrets import Unreadable
from connections.transport import Timeouts
from gateway import subjects
from gateway.budgets import words
from gateway.models import BudgetNotice, BudgetWebhook, BudgetWindow

CLAIM = timedelta(minutes=2)
"""Longer than telling takes; afterwards somebody else may try."""
AFTERWARDS = timedelta(hours=1)
"""For which a window that is over is still looked at."""
PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(hours=1)
MOST_TRIES = 10
PATIENCE = Timeouts(connect=5, first_byte=10, between=10, total=15)
MOST_READ = 64 * 1024


class NotTold(Exception):
    """The message says why, without a secret."""


def find() -> None:
    """Note the thresholds that were reached since the last look."""
    lowest = Cast(KeyTextTransform(0, "budget__thresholds"), BigIntegerField())
    open_still = BudgetWindow.objects.filter(ends_at__gt=Now() - AFTERWARDS, spent__gt=0, budget__enabled=True)
    reached = open_still.annotate(lowest=lowest).filter(spent__gte=F("budget__amount") / 100 * F("lowest"))
    for window in reached.select_related("budget").prefetch_related("notices"):
        noted = {notice.threshold for notice in window.notices.all()}
        for threshold in window.budget.thresholds:
            if threshold not in noted and window.spent * 100 >= threshold * window.budget.amount:
                BudgetNotice.objects.get_or_create(window=window, threshold=threshold, defaults={"due_at": Now()})


def announce_due(announce: Callable[[int], Any]) -> None:
    for pk in BudgetNotice.objects.filter(due_at__lte=Now()).values_list("pk", flat=True):
        announce(pk)


def tell(pk: int) -> None:
    """Tell, unless somebody else does. What could not be told comes again, at growing intervals."""
    mine = BudgetNotice.objects.filter(pk=pk)
    if not mine.filter(due_at__lte=Now()).update(due_at=Now() + CLAIM, tries=F("tries") + 1):
        return
    notice = mine.select_related("window__budget").get()
    problems = [problem for way in (_mail, _post) if (problem := _tried(way, notice))]
    again = Now() + min(PAUSE * 2**notice.tries, LONGEST_PAUSE) if notice.tries < MOST_TRIES else None
    mine.update(problem=" ".join(problems)[:300], due_at=again if problems else None)


def _tried(way: Callable[[BudgetNotice], None], notice: BudgetNotice) -> str:
    try:
        way(notice)
    except NotTold as problem:
        return str(problem)
    return ""


def _mail(notice: BudgetNotice) -> None:
    budget = notice.window.budget
    if notice.mailed_at or not budget.emails:
        return
    if settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
        raise NotTold("No mail server is set up: MESH_MAIL_URL.")
    address = f"{settings.BASE_URL}{reverse('budget', args=[budget.pk])}"
    subject = f"{notice.threshold} % of {words.text(budget)} for {subjects.name(budget)}"
    try:
        send_mail(subject, f"{_said(notice)}\n\n{address}\n", None, budget.emails)
    except (SMTPException, OSError) as error:
        raise NotTold(f"The mail server did not take the mail ({type(error).__name__}).") from error
    BudgetNotice.objects.filter(pk=notice.pk).update(mailed_at=Now())


def _said(notice: BudgetNotice) -> str:
    window, budget = notice.window, notice.window.budget
    spent, whole = words.amount(budget.what, window.spent), words.amount(budget.what, budget.amount)
    whose = subjects.name(budget) + (f" ({window.counted})" if window.counted else "")
    anew = words.moment(window.ends_at.timestamp())
    return f"{spent} of {whole} are spent. The budget is for {whose} and starts anew on {anew}."


def _post(notice: BudgetNotice) -> None:
    webhook = BudgetWebhook.objects.filter(budget=notice.window.budget).first()
    if notice.posted_at or webhook is None:
        return
    try:
        status = runtime.run(_sent(webhook.url, message(notice), webhook.secret()))
    except ProviderError as error:
        raise NotTold(f"The webhook could not be reached ({type(error).__name__}).") from error
    except Unreadable as error:
        raise NotTold("The webhook's secret cannot be read. Enter it again.") from error
    if not 200 <= status < 300:
        raise NotTold(f"The webhook answered {status}.")
    BudgetNotice.objects.filter(pk=notice.pk).update(posted_at=Now())


async def _sent(url: str, body: bytes, secret: bytes) -> int:
    transport, now = await runtime.transport(), str(int(time.time()))
    headers = {
        "content-type": "application/json",
        "x-mesh-timestamp": now,
        "x-mesh-signature": signature(secret, now, body),
    }
    async with transport.stream(Outgoing("POST", url, headers, body), timeouts=PATIENCE) as answer:
        await answer.read(MOST_READ)
        return answer.status


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Of the time and the body, so that an old message cannot be sent again as a new one."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def message(notice: BudgetNotice) -> bytes:
    """What a webhook is told. `id` is the same in each try."""
    window, budget = notice.window, notice.window.budget
    return json.dumps(
        {
            "event": "budget.threshold_reached",
            "id": notice.pk,
            "threshold": notice.threshold,
            "budget": {"id": budget.pk, "for": subjects.name(budget), "what": budget.what, "amount": budget.amount},
            "counted": window.counted,
            "spent": window.spent,
            "starts_at": window.starts_at.isoformat(),
            "ends_at": window.ends_at.isoformat(),
            "text": _said(notice),
        }
    ).encode()
