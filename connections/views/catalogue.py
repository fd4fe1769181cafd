"""The catalogue of models over all connections: what one may use, and for admins also what one may not and why."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from access.models import User
from access.permissions import requires
from access.requests import PageRequest
from access.roles import Permission
from connections import prices
from connections.models import MODES, Model, State
from connections.providers import registry
from connections.providers.contract import Provider


@dataclass(frozen=True, slots=True)
class Entry:
    model: Model
    kind: type[Provider] | None
    hindrance: str
    """Why the reader cannot use it; empty: they can."""
    price: prices.Shown | None

    @property
    def state(self) -> str:
        """The model's own where a check told it, else its connection's."""
        connection = self.model.connection
        known = self.model.state != State.UNKNOWN and not connection.paused
        return self.model.state if known else connection.shown_state

    @property
    def state_label(self) -> str:
        return State(self.state).label


@requires()
@require_safe
def catalogue(request: PageRequest) -> HttpResponse:
    query, mode = request.GET.get("q", "").strip()[:300], request.GET.get("mode", "")
    entries = [
        entry
        for entry in _entries(request.user)
        if query.casefold() in entry.model.public_id.casefold() and mode in ("", entry.model.mode)
    ]
    context = {"entries": entries, "query": query, "mode": mode, "modes": MODES}
    template = "connections/catalogue.html#table" if request.htmx else "connections/catalogue.html"
    return render(request, template, context)


def _entries(user: User) -> Iterator[Entry]:
    usable = set(Model.objects.usable_by(user.principal).values_list("pk", flat=True))
    rows = Model.objects.select_related("connection").prefetch_related("prices")
    for model in rows if user.may(Permission.VIEW_CONNECTIONS) else rows.filter(pk__in=usable):
        kind = registry.providers().get(model.connection.kind)
        hindrance = "" if model.pk in usable else _hindrance(model, user)
        yield Entry(model, kind, hindrance, model.shown_price)


def _hindrance(model: Model, user: User) -> str:
    if not user.may(Permission.USE_MODELS):
        return ""
    if model.connection.paused:
        return "The connection is paused"
    return "Not granted to your groups" if model.enabled else "Switched off"
