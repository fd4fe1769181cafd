"""Search or jump to: pages, connections, models and users by their names, each only for who may see it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from access.models import User
from access.permissions import requires
from access.requests import PageRequest
from access.roles import Permission
from connections.models import Connection, Model
from llmmesh.context import page

MOST = 8
"""Of each sort."""


@dataclass(frozen=True, slots=True)
class Hit:
    label: str
    sort: str
    url: str


@requires()
@require_safe
def search(request: PageRequest) -> HttpResponse:
    query = request.GET.get("q", "").strip()[:100]
    sorts = (_pages(request, query), _connections(request.user, query), _models(request.user, query))
    hits = [hit for found in (*sorts, _users(request.user, query)) for hit in islice(found, MOST)]
    template = "search.html#hits" if request.htmx else "search.html"
    return render(request, template, {"query": query, "hits": hits})


def _pages(request: PageRequest, query: str) -> Iterator[Hit]:
    for section in page(request)["rail"]:
        for link in section:
            if query.casefold() in link["label"].casefold():
                yield Hit(link["label"], "Page", link["url"])


def _connections(user: User, query: str) -> Iterator[Hit]:
    for connection in Connection.objects.visible_to(user).filter(name__icontains=query):
        yield Hit(connection.name, "Connection", reverse("connection", args=[connection.pk]))


def _models(user: User, query: str) -> Iterator[Hit]:
    for model in Model.objects.usable_by(user.principal).filter(public_id__icontains=query):
        yield Hit(model.public_id, "Try model", f"{reverse('playground')}?{urlencode({'model': model.public_id})}")


def _users(user: User, query: str) -> Iterator[Hit]:
    found = (
        User.objects.filter(username__icontains=query) if user.may(Permission.MANAGE_ACCESS) else User.objects.none()
    )
    for member in found.order_by("username"):
        yield Hit(member.username, "User", reverse("user", args=[member.pk]))
