"""What every page's frame needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, resolve, reverse

from access.models import User
from access.roles import Permission

THEMES = ("auto", "light", "dark")


@dataclass(frozen=True)
class Entry:
    """One link of the left rail: the name of a page's address, what it is called, its icon."""

    name: str
    label: str
    icon: str


SECTIONS = (
    (
        Entry("playground", "Playground", "sparkles"),
        Entry("models", "Models", "box"),
    ),
    (
        Entry("connections", "Connections", "plug-connected"),
        Entry("routes", "Routes", "topology-star-3"),
        Entry("groups", "Access groups", "users-group"),
        Entry("users", "Users", "users"),
        Entry("keys", "API keys", "key"),
    ),
    (
        Entry("usage", "Usage & cost", "chart-bar"),
        Entry("limits", "Limits", "gauge"),
        Entry("budgets", "Budgets", "coin"),
        Entry("explain", "What would happen", "test-pipe"),
        Entry("audit", "Audit log", "history"),
    ),
)


def page(request: HttpRequest) -> dict[str, Any]:
    theme = request.COOKIES.get("theme", "auto")
    return {
        "version": settings.VERSION,
        "theme": theme if theme in THEMES else "auto",
        "rail": list(_sections(request)),
    }


def _sections(request: HttpRequest) -> Iterator[list[dict[str, Any]]]:
    """The rail's links that exist and that this user may follow, in their sections."""
    user = getattr(request, "user", None)  # a page that answers an early error has none
    if not isinstance(user, User):
        return
    for section in SECTIONS:
        links = [link for entry in section if (link := _link(entry, user, request.path))]
        if links:
            yield links


def _link(entry: Entry, user: User, path: str) -> dict[str, Any] | None:
    try:
        url = reverse(entry.name)
    except NoReverseMatch:
        return None
    permission = getattr(resolve(url).func, "permission", None)
    if isinstance(permission, Permission) and not user.may(permission):
        return None
    return {"url": url, "label": entry.label, "icon": f"icons/{entry.icon}.svg", "current": path.startswith(url)}
