"""The list of connections."""

from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from access.permissions import requires
from access.requests import PageRequest
from access.roles import Permission
from connections import figures
from connections.models import Connection, ConnectionQuerySet, State
from connections.providers import registry
from connections.rows import rows_of, state_counts

CHIPS = (State.FAILING, State.SLOW, State.PAUSED)


@requires(Permission.VIEW_CONNECTIONS)
@require_safe
def connection_list(request: PageRequest) -> HttpResponse:
    everything = list(Connection.objects.visible_to(request.user))
    counts = state_counts(everything)
    query, state = request.GET.get("q", "").strip()[:80], request.GET.get("state", "")
    found = _matching(query).filter(pk__in=[row.pk for row in everything if state in ("", row.shown_state)])
    failing = [row for row in everything if row.shown_state == State.FAILING]
    context = {
        "rows": rows_of(list(found)),
        "query": query,
        "state": state,
        "chips": [(choice.value, choice.label, counts[choice]) for choice in CHIPS],
        "all": len(everything),
        "healthy": counts[State.HEALTHY],
        "active": len(everything) - counts[State.PAUSED],
        "totals": figures.ledger().totals(),
        "month": timezone.now(),
        "failing": rows_of(failing),
    }
    return render(request, "connections/list.html#table" if request.htmx else "connections/list.html", context)


def _matching(query: str) -> ConnectionQuerySet:
    kinds = [kind for kind, label in registry.choices() if query.casefold() in label.casefold()]
    return Connection.objects.filter(Q(name__icontains=query) | Q(kind__in=kinds))


@requires(Permission.TEST_CONNECTIONS)
@require_POST
def check_all(request: PageRequest) -> HttpResponse:
    """Let the next look of the scheduler find every connection due."""
    count = Connection.objects.running().update(check_due=timezone.now())
    messages.info(request, f"{count} connection{pluralize(count)} will be checked within seconds.")
    return redirect("connections")
