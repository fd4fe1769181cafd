"""What all pages about one connection share, and those of its tabs that only show."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from access.models import AuditEvent
from access.paging import page_after
from access.permissions import requires
from access.requests import PageRequest
from access.roles import Permission
from connections import charts, services
from connections.account import title_of
from connections.models import Connection, HealthCheck, State
from connections.providers import registry
from connections.rows import rows_of

TABS = (
    ("connection", "Overview"),
    ("connection-models", "Models"),
    ("connection-health", "Health"),
    ("connection-access", "Access"),
    ("connection-history", "History"),
    ("connection-edit", "Settings"),
)

CHART = 90
"""Checks that the latency chart shows."""


ABOUT_MODELS = ("connection-models", "connection-access")
"""Tabs that a connection has only where it has models: some only lend their credential."""


def page_context(connection: Connection, tab: str, **more: Any) -> dict[str, Any]:
    row = rows_of([connection])[0]
    has_models = row.has_models
    tabs = [(name, label) for name, label in TABS if has_models or name not in ABOUT_MODELS]
    return {"connection": connection, "row": row, "tab": tab, "tabs": tabs, "has_models": has_models, **more}


@requires(Permission.VIEW_CONNECTIONS)
@require_safe
def overview(request: PageRequest, pk: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, pk=pk)
    return render(request, "connections/overview.html", overview_context(connection))


def overview_context(connection: Connection, **more: Any) -> dict[str, Any]:
    kind = registry.providers().get(connection.kind)
    secrets = [title_of(kind, name) for name in services.stored_secrets(connection)] if kind else []
    enabled = connection.models.filter(enabled=True)
    borrowers = Connection.objects.borrowers(connection)
    uses_host = services.uses_host(connection)
    context = {"enabled": enabled, "secrets": secrets, "borrowers": borrowers, "uses_host": uses_host}
    return page_context(connection, "connection", **context, **more)


@requires(Permission.VIEW_CONNECTIONS)
@require_safe
def health(request: PageRequest, pk: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, pk=pk)
    checks = HealthCheck.objects.filter(connection=connection, model=None)
    incidents = connection.checks.filter(state=State.FAILING).select_related("model")
    context = page_context(
        connection,
        "connection-health",
        chart=charts.latency(list(reversed(checks[:CHART]))),
        checks=checks[:20],
        incidents=incidents[:20],
    )
    return render(request, "connections/health.html", context)


@requires(Permission.VIEW_CONNECTIONS)
@require_safe
def history(request: PageRequest, pk: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, pk=pk)
    ids = [str(pk), *(str(model) for model in connection.models.values_list("pk", flat=True))]
    events = AuditEvent.objects.filter(object_type__in=["connection", "model"], object_id__in=ids)
    page = page_after(events, request.GET.get("after", ""))
    return render(request, "connections/history.html", page_context(connection, "connection-history", page=page))
