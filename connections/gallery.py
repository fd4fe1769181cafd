"""The providers as the wizard shows them: on shelves by group, those that are no more on one of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

from connections.providers import registry
from connections.providers.contract import GROUPS, Provider


@dataclass(frozen=True, slots=True)
class Shelf:
    title: str
    kinds: Sequence[type[Provider]]


@dataclass(frozen=True, slots=True)
class Gallery:
    shelves: Sequence[Shelf]
    """Those that hold anything."""
    retired: Sequence[type[Provider]]

    @property
    def count(self) -> int:
        return sum(len(shelf.kinds) for shelf in self.shelves) + len(self.retired)


def gallery(query: str = "") -> Gallery:
    """What fits `query`: a part of a name, of a summary, or a kind of model."""
    found = [kind for kind in registry.providers().values() if query.casefold() in _words(kind)]
    current = [kind for kind in found if not kind.retired]
    shelves = [Shelf(title, [kind for kind in current if kind.group == group]) for group, title in GROUPS.items()]
    return Gallery([shelf for shelf in shelves if shelf.kinds], [kind for kind in found if kind.retired])


def _words(kind: type[Provider]) -> str:
    return " ".join([kind.label, kind.kind, kind.summary, *sorted(kind.modes)]).casefold()
