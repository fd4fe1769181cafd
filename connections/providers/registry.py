"""Which providers exist: every module of this folder, and packages that offer `llmmesh.providers`."""

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

import connections.providers as folder
from connections.providers.contract import Provider

ENTRY_POINTS = "llmmesh.providers"


@cache
def providers() -> dict[str, type[Provider]]:
    """All provider classes by kind, in gallery order."""
    for module in pkgutil.iter_modules(folder.__path__):
        importlib.import_module(f"{folder.__name__}.{module.name}")
    found = [kind for kind in _subclasses(Provider) if "kind" in vars(kind)]
    found += [point.load() for point in entry_points(group=ENTRY_POINTS)]
    return {kind.kind: kind for kind in sorted(found, key=lambda kind: (kind.order, kind.label))}


def choices() -> list[tuple[str, str]]:
    return [(kind, provider.label) for kind, provider in providers().items()]


def _subclasses(base: type[Provider]) -> list[type[Provider]]:
    direct = base.__subclasses__()
    return direct + [deeper for child in direct for deeper in _subclasses(child)]
