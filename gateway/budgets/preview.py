"""What the budgets would say to a call, without setting anything aside."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone

from gateway.budgets import leases, words
from gateway.budgets.rules import Rule
from gateway.budgets.windows import span
from gateway.models import BudgetWindow


@dataclass(frozen=True, slots=True)
class Preview:
    rule: Rule
    left: int
    ends: float
    """Unix time."""
    need: int | None
    """None: the model's price is not known."""

    @property
    def binding(self) -> bool:
        return self.rule.binds(timezone.now().timestamp())

    @property
    def enough(self) -> bool:
        return self.need <= self.left if self.need is not None else self.rule.switches

    @property
    def refuses(self) -> bool:
        return self.binding and not self.enough and not self.rule.switches

    @property
    def told(self) -> str:
        entry, need = self.rule.entry, self.need or 0
        if self.refuses:
            return words.refusal(self.rule, self.ends, self.left, need, "the model" if self.need is None else "")
        whole = words.budget_of(self.rule).removeprefix("the budget of ")
        told = f"{whole}: {words.amount(entry.what, self.left)} left, {words.amount(entry.what, need)} needed at most."
        if self.enough:
            return told
        return f"{told} {f'{entry.switch_to} is asked instead.' if self.binding else 'Nothing is held up.'}"

    @property
    def facts(self) -> dict[str, str | int | None]:
        entry = self.rule.entry
        names = ("what", "amount", "window", "at_end", "switch_to")
        facts = {name: getattr(entry, name) for name in names}
        return {**facts, "whose": self.rule.whose, "left": self.left, "needed": self.need}


def previewed(rules: Sequence[Rule], tokens: int, nano: int | None) -> list[Preview]:
    """`tokens` and `nano`: the most that the call may use, and cost (blocking)."""
    return [_preview(rule, nano if rule.in_money else tokens) for rule in rules]


def _preview(rule: Rule, need: int | None) -> Preview:
    entry = rule.entry
    found = span(entry.window, entry.hours, entry.anchor, timezone.now())
    window = BudgetWindow.objects.filter(budget=entry.id, counted=rule.counted, starts_at=found.starts).first()
    taken = window.spent + window.reserved if window else 0
    ceiling = entry.amount + leases.added_by_overrides(entry.id)
    return Preview(rule, max(0, ceiling - taken), found.ends.timestamp(), need)
