"""Every route of the site, with what it declares about who may use it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.urls.resolvers import RoutePattern

from access.permissions import DenyAll

SAMPLES = {"IntConverter": 999_999, "UUIDConverter": "00000000-0000-4000-8000-000000000000"}


@dataclass(frozen=True)
class Route:
    name: str
    view: Any
    arguments: dict[str, Any]

    @property
    def path(self) -> str:
        """An address of the route, with ids that nothing has."""
        return reverse(self.name, kwargs=self.arguments)

    @property
    def permission_classes(self) -> list[type] | None:
        """Of an API route; None for a page."""
        view_class = getattr(self.view, "cls", None)
        if view_class is None:
            return None
        return getattr(self.view, "initkwargs", {}).get("permission_classes", view_class.permission_classes)

    @property
    def declared(self) -> object:
        """What the route says; None: nothing."""
        if self.permission_classes is None:
            return getattr(self.view, "permission", None)
        return None if not self.permission_classes or DenyAll in self.permission_classes else self.permission_classes

    def __str__(self) -> str:
        return self.name


def arguments_of(pattern: Any) -> dict[str, Any]:
    if isinstance(pattern, RoutePattern):
        return {name: SAMPLES.get(type(kind).__name__, "nothing") for name, kind in pattern.converters.items()}
    return dict.fromkeys(pattern.regex.groupindex, "999999")


def routes(patterns: list[Any] | None = None, arguments: dict[str, Any] | None = None) -> Iterator[Route]:
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        found = {**(arguments or {}), **arguments_of(entry.pattern)}
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, found)
        elif isinstance(entry, URLPattern):
            yield Route(entry.name or str(entry.pattern), entry.callback, found)


ROUTES = list(routes())
PAGES = [route for route in ROUTES if route.permission_classes is None]
API = [route for route in ROUTES if route.permission_classes is not None]
