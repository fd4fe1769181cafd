"""Which limits a call has to pass. Rows of the database become these once, when the snapshot is built."""

from dataclasses import dataclass

from access.principal import Principal
from gateway.models import Limit
from gateway.scopes import WHOSE, Placed, places


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit for one subject, as the limiter counts it."""

    name: str
    """Key of its counter, in Valkey too."""
    what: str
    """requests, tokens or parallel"""
    amount: int
    seconds: float
    """The time in which `amount` is given anew; 0 for parallel calls."""
    whose: str
    """As the one who is refused is told: "this API key", "the model" …"""


@dataclass(frozen=True, slots=True)
class LimitEntry:
    id: int
    scope: str
    subject: str
    what: str
    amount: int
    seconds: float

    @classmethod
    def of(cls, row: Limit) -> "LimitEntry":
        return cls(row.pk, row.scope, row.subject, row.what, row.amount, row.seconds)


class Rules(Placed[LimitEntry, Rule]):
    """All limits of one snapshot."""

    def rule(self, entry: LimitEntry, counted: str) -> Rule:
        return rule_of(entry, counted)

    def of(self, principal: Principal, model: str, connection: str) -> list[Rule]:
        """`principal`: as the snapshot has it."""
        who = principal.user_id, principal.key_id, model
        return self.remembered(who, lambda: places(principal, model, connection))


def rule_of(entry: LimitEntry, counted: str) -> Rule:
    return Rule(f"limit:{entry.what}:{entry.id}:{counted}", entry.what, entry.amount, entry.seconds, WHOSE[entry.scope])
