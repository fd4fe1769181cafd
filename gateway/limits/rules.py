"""Which limits a call has to pass. Rows of the database become these once, when the snapshot is built."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from access.principal import Principal
from gateway.models import Limit


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit for one subject, as the limiter counts it."""

    name: str
    """Key of its counter."""
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


class Rules:
    """All limits, found by what a call is about: a handful of look-ups, however many there are."""

    def __init__(self, entries: Iterable[LimitEntry] = ()) -> None:
        self._entries: dict[tuple[str, str], list[LimitEntry]] = {}
        for entry in entries:
            self._entries.setdefault((entry.scope, entry.subject), []).append(entry)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def of(self, principal: Principal, model: str, connection: str) -> list[Rule]:
        found = []
        for scope, subject, counted in places(principal, model, connection):
            for entry in self._entries.get((scope, subject), ()):
                found.append(rule_of(entry, counted))
        return found


def places(principal: Principal, model: str, connection: str) -> list[tuple[str, str, str]]:
    """Where limits may stand: scope, subject, and whose counter it is ("" for the limit's own)."""
    scope = Limit.Scope
    places = [(scope.ALL, "", ""), (scope.MODEL, model, ""), (scope.CONNECTION, connection, "")]
    if principal.user_id is not None:
        user = str(principal.user_id)
        places += [(scope.USER, user, ""), (scope.EACH_USER, "", user)]
        places += [(scope.GROUP, str(group), "") for group in principal.group_ids]
    if principal.key_id:
        places += [(scope.KEY, principal.key_id, ""), (scope.EACH_KEY, "", principal.key_id)]
    return [(str(one), subject, counted) for one, subject, counted in places]


def rule_of(entry: LimitEntry, counted: str) -> Rule:
    return Rule(f"{entry.id}:{counted}", entry.what, entry.amount, entry.seconds, WHOSE[entry.scope])


WHOSE: Mapping[str, str] = {
    Limit.Scope.ALL: "everybody together",
    Limit.Scope.KEY: "this API key",
    Limit.Scope.EACH_KEY: "this API key",
    Limit.Scope.USER: "this user",
    Limit.Scope.EACH_USER: "this user",
    Limit.Scope.GROUP: "a group of this user",
    Limit.Scope.MODEL: "this model",
    Limit.Scope.CONNECTION: "this model's connection",
}
