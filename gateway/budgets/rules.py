"""Which budgets a call counts against. Rows of the database become these once, when the snapshot is built."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from access.principal import Principal
from gateway.models import Budget, BudgetOverride
from gateway.scopes import WHOSE, Placed, places_of_caller, places_of_model


class Override(NamedTuple):
    extra: int | None
    """None: no end at all."""
    until: float
    """Unix time."""


@dataclass(frozen=True, slots=True)
class BudgetEntry:
    id: int
    scope: str
    subject: str
    what: str
    amount: int
    window: str
    hours: int
    anchor: datetime | None
    at_end: str
    switch_to: str
    overrides: Sequence[Override] = ()

    @classmethod
    def of(cls, row: Budget, overrides: Iterable[BudgetOverride] = ()) -> "BudgetEntry":
        columns = {name: getattr(row, name) for name in COLUMNS}
        found = [Override(one.extra, one.until.timestamp()) for one in overrides]
        return cls(id=row.pk, overrides=found, **columns)


COLUMNS = ("scope", "subject", "what", "amount", "window", "hours", "anchor", "at_end", "switch_to")


class Rule(NamedTuple):
    """One budget for one of those whom it is about."""

    entry: BudgetEntry
    counted: str
    name: tuple[int, str]
    """Of its windows, in memory."""
    in_money: bool
    switches: bool

    @classmethod
    def of(cls, entry: BudgetEntry, counted: str) -> "Rule":
        in_money, switches = entry.what == Budget.What.MONEY, entry.at_end == Budget.AtEnd.SWITCH
        return cls(entry, counted, (entry.id, counted), in_money, switches)

    @property
    def whose(self) -> str:
        """As the one who is refused is told."""
        return WHOSE[self.entry.scope]

    def binds(self, now: float) -> bool:
        """Whether its end holds anything up at this moment."""
        entry = self.entry
        if entry.at_end == Budget.AtEnd.WARN:
            return False
        return not entry.overrides or not any(one.extra is None and now < one.until for one in entry.overrides)


class Budgets(Placed[BudgetEntry, Rule]):
    """All budgets of one snapshot."""

    def rule(self, entry: BudgetEntry, counted: str) -> Rule:
        return Rule.of(entry, counted)

    def of_caller(self, principal: Principal) -> list[Rule]:
        """`principal`: as the snapshot has it."""
        return self.remembered((principal.user_id, principal.key_id), lambda: places_of_caller(principal))

    def of_model(self, model: str, connection: UUID) -> list[Rule]:
        return self.remembered(model, lambda: places_of_model(model, str(connection)))
