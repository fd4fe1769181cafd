"""Which limits and budgets meet a call: found by whom and what it is about."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from access.principal import Principal
from gateway.models import Extent


class About(Protocol):
    """Something that is about somebody or something."""

    @property
    def scope(self) -> str: ...

    @property
    def subject(self) -> str: ...


E = TypeVar("E", bound=About)
R = TypeVar("R")
Place = tuple[str, str, str]
"""Scope, subject, and whose counter it is ("" for the entry's own)."""
MOST_KNOWN = 100_000
"""Callers and models whose rules are remembered."""


class Placed(Generic[E, R]):
    """All entries of one snapshot, found by what a call is about: a handful of look-ups, however many there are."""

    def __init__(self, entries: Iterable[E] = ()) -> None:
        self._entries: dict[tuple[str, str], list[E]] = {}
        self._known: dict[Hashable, list[R]] = {}
        for entry in entries:
            self._entries.setdefault((entry.scope, entry.subject), []).append(entry)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def rule(self, entry: E, counted: str) -> R:
        """What the entry means to one of those whom it is about."""
        raise NotImplementedError

    def remembered(self, who: Hashable, find: Callable[[], Iterable[Place]]) -> list[R]:
        """The rules at the places that `find` tells; `who` has the same ones as long as the snapshot lives."""
        known = self._known.get(who)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[who] = [
                self.rule(entry, counted)
                for scope, subject, counted in find()
                for entry in self._entries.get((scope, subject), ())
            ]
        return known


def places(principal: Principal, model: str, connection: str) -> list[Place]:
    """Where an entry may stand that meets this principal's call to this model."""
    return [*places_of_caller(principal), *places_of_model(model, connection)]


def places_of_caller(principal: Principal) -> list[Place]:
    places = [("all", "", "")]
    if principal.user_id is not None:
        user = str(principal.user_id)
        places += [("user", user, ""), ("each_user", "", user)]
        places += [("group", str(group), "") for group in principal.group_ids]
    if principal.key_id:
        places += [("key", principal.key_id, ""), ("each_key", "", principal.key_id)]
    return places


def places_of_model(model: str, connection: str) -> list[Place]:
    return [("model", model, ""), ("connection", connection, "")]


WHOSE: Mapping[str, str] = {
    Extent.ALL: "everybody together",
    Extent.KEY: "this API key",
    Extent.EACH_KEY: "this API key",
    Extent.USER: "this user",
    Extent.EACH_USER: "this user",
    Extent.GROUP: "a group of this user",
    Extent.MODEL: "this model",
    Extent.CONNECTION: "this model's connection",
}
"""As the one who is refused is told."""
