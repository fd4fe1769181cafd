"""Budgets as pages and `/api` show them: whose they are, and what is spent, reserved and left."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from access.principal import Principal
from connections.models import Model
from gateway import subjects
from gateway.budgets import words
from gateway.budgets.windows import Span, span
from gateway.limits.shown import WHOSE_OWN
from gateway.models import Budget, BudgetNotice, BudgetOverride, BudgetWebhook, BudgetWindow, Extent
from gateway.scopes import places
from gateway.subjects import Subject

MOST_NOTICES = 20


@dataclass(frozen=True, slots=True)
class Shown:
    """A budget and its window of now."""

    budget: Budget
    subject: Subject | None
    """None: it is about nobody in particular."""
    span: Span
    window: BudgetWindow | None
    """None: nothing was spent in it yet, or each user or key has one."""
    overrides: Sequence[BudgetOverride] = field(default=())
    """Those in force."""
    known: bool = True
    """False: each user or key has a sum of its own."""

    @property
    def icon(self) -> str:
        sort = subjects.SORTS.get(self.budget.scope)
        return f"icons/{sort.icon if sort else 'users'}.svg"

    @property
    def name(self) -> str:
        """ "One user: alice"."""
        label = self.budget.get_scope_display()
        return f"{label}: {self.subject.name}" if self.subject else label

    @property
    def whose(self) -> str:
        """As one of those whom it is about is told."""
        return WHOSE_OWN.get(self.budget.scope) or f"{self.budget.scope} {self.subject.name if self.subject else ''}"

    @property
    def text(self) -> str:
        return words.text(self.budget)

    @property
    def spent(self) -> int:
        return self.window.spent if self.window else 0

    @property
    def reserved(self) -> int:
        return self.window.reserved if self.window else 0

    @property
    def unknown(self) -> int:
        return self.window.unknown if self.window else 0

    @property
    def ceiling(self) -> int | None:
        """With what overrides add; None: no end."""
        if any(one.extra is None for one in self.overrides):
            return None
        return self.budget.amount + sum(one.extra or 0 for one in self.overrides)

    @property
    def left(self) -> int | None:
        return None if self.ceiling is None else max(0, self.ceiling - self.spent - self.reserved)

    @property
    def spent_part(self) -> int:
        """Of the bar, in percent."""
        return _part(self.spent, self.ceiling or self.budget.amount)

    @property
    def reserved_part(self) -> int:
        return min(_part(self.reserved, self.ceiling or self.budget.amount), 100 - self.spent_part)

    @property
    def full(self) -> bool:
        return self.ceiling is not None and self.spent >= self.ceiling


def listed(budgets: Sequence[Budget]) -> list[Shown]:
    """Rows of the admins' table. Where each user or key has a sum of its own, none is looked at."""
    return _shown(budgets, {budget.pk: "" for budget in budgets if budget.shared})


def applying(principal: Principal, models: Iterable[Model]) -> list[Shown]:
    """What this principal's calls to these models count against, found where the gate finds it."""
    asked = [(model.public_id, str(model.connection_id)) for model in models]
    met = {
        (scope, subject): counted
        for model, connection in asked
        for scope, subject, counted in places(principal, model, connection)
    }
    candidates = Budget.objects.filter(enabled=True, subject__in={subject for _, subject in met})
    budgets = [budget for budget in candidates if (budget.scope, budget.subject) in met]
    return _shown(budgets, {budget.pk: met[budget.scope, budget.subject] for budget in budgets})


def _shown(budgets: Sequence[Budget], counted: Mapping[int, str]) -> list[Shown]:
    """`counted`: whose sum is shown of a budget."""
    now = timezone.now()
    named, windows, overrides = subjects.named(budgets), _windows(budgets, counted), _overrides(budgets)
    return [
        Shown(
            budget=budget,
            subject=named.get((budget.scope, budget.subject)),
            span=span(budget.window, budget.hours, budget.anchor, now),
            window=windows.get(budget.pk),
            overrides=overrides.get(budget.pk, ()),
            known=budget.pk in counted,
        )
        for budget in budgets
    ]


def _windows(budgets: Sequence[Budget], counted: Mapping[int, str]) -> dict[int, BudgetWindow]:
    """Of this moment."""
    rows = BudgetWindow.objects.filter(
        budget__in=budgets, counted__in=set(counted.values()), starts_at__lte=Now(), ends_at__gt=Now()
    )
    return {row.budget_id: row for row in rows if counted.get(row.budget_id) == row.counted}


def _overrides(budgets: Sequence[Budget]) -> dict[int, list[BudgetOverride]]:
    found: dict[int, list[BudgetOverride]] = {}
    for row in in_force(BudgetOverride.objects.filter(budget__in=budgets)):
        found.setdefault(row.budget_id, []).append(row)
    return found


def in_force(rows: QuerySet[BudgetOverride]) -> QuerySet[BudgetOverride]:
    return rows.filter(Q(revoked_at=None), until__gt=Now())


def _part(number: int, whole: int) -> int:
    return min(100, number * 100 // whole)


@dataclass(frozen=True, slots=True)
class Past:
    """A window of a budget's history."""

    window: BudgetWindow
    whose: str
    """Empty where all share it."""
    part: int
    """Of the budget's amount of today, in percent."""


def past(budget: Budget, most: int) -> list[Past]:
    """The newest windows, that of now included; where each has one, those that spent most come first."""
    rows = budget.windows.order_by("-starts_at", "-spent", "pk")[:most]
    scope = {Extent.EACH_USER: Extent.USER, Extent.EACH_KEY: Extent.KEY}.get(Extent(budget.scope), Extent.ALL)
    named = subjects.named([Counted(scope, row.counted) for row in rows])
    names = {subject: found.name for (_, subject), found in named.items()}
    return [Past(row, names.get(row.counted, ""), _part(row.spent, budget.amount)) for row in rows]


class Counted(NamedTuple):
    """One of those who have a sum of their own."""

    scope: str
    subject: str


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told of a budget, and what was."""

    thresholds: list[int]
    emails: list[str]
    url: str
    notices: list[BudgetNotice]


def telling_of(budget: Budget) -> Telling:
    webhook = BudgetWebhook.objects.filter(budget=budget).first()
    notices = BudgetNotice.objects.filter(window__budget=budget).select_related("window")[:MOST_NOTICES]
    return Telling(budget.thresholds, budget.emails, webhook.url if webhook else "", list(notices))
