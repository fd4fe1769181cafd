"""Limits as pages show them: whose they are, and how much of them is taken."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from access.principal import Principal
from connections.models import Model
from gateway import subjects
from gateway.limits import fill
from gateway.limits.rules import LimitEntry, rule_of
from gateway.models import Extent, Limit
from gateway.scopes import places
from gateway.subjects import Subject

WHOSE_OWN: Mapping[str, str] = {
    Extent.ALL: "everybody together",
    Extent.USER: "you",
    Extent.EACH_USER: "you",
    Extent.KEY: "this key",
    Extent.EACH_KEY: "this key",
}


@dataclass(frozen=True, slots=True)
class Shown:
    limit: Limit
    subject: Subject | None
    """None: it is about nobody in particular."""
    taken: int | None

    @property
    def icon(self) -> str:
        sort = subjects.SORTS.get(self.limit.scope)
        return f"icons/{sort.icon if sort else 'users'}.svg"

    @property
    def name(self) -> str:
        """ "One user: alice"."""
        label = self.limit.get_scope_display()
        return f"{label}: {self.subject.name}" if self.subject else label

    @property
    def whose(self) -> str:
        """As one of those whom it is about is told."""
        return WHOSE_OWN.get(self.limit.scope) or f"{self.limit.scope} {self.subject.name if self.subject else ''}"

    @property
    def full(self) -> bool:
        return self.taken is not None and self.taken >= self.limit.amount


def listed(limits: Sequence[Limit]) -> list[Shown]:
    """Rows of the admins' table. Where each user or key has a counter of its own, none is looked at."""
    shared = [limit for limit in limits if limit.shared]
    taken = fill.taken([rule_of(LimitEntry.of(limit), "") for limit in shared])
    by_limit = dict(zip([limit.pk for limit in shared], taken, strict=True))
    named = subjects.named(limits)
    return [Shown(limit, named.get((limit.scope, limit.subject)), by_limit.get(limit.pk)) for limit in limits]


def applying(principal: Principal, models: Iterable[Model], *, filled: bool = True) -> list[Shown]:
    """What this principal's calls to these models have to pass, found where the gate finds it.

    `filled`: also how much of each is taken, which asks Valkey.
    """
    asked = [(model.public_id, str(model.connection_id)) for model in models]
    met = {
        (scope, subject): counted
        for model, connection in asked
        for scope, subject, counted in places(principal, model, connection)
    }
    candidates = Limit.objects.filter(enabled=True, subject__in={subject for _, subject in met})
    limits = [limit for limit in candidates if (limit.scope, limit.subject) in met]
    rules = [rule_of(LimitEntry.of(limit), met[limit.scope, limit.subject]) for limit in limits]
    taken = fill.taken(rules) if filled else [None] * len(rules)
    named = subjects.named(limits)
    shown = zip(limits, taken, strict=True)
    return [Shown(limit, named.get((limit.scope, limit.subject)), amount) for limit, amount in shown]
