"""The engine of a connection: start, stop, how it fares, and what each call to its class is to set."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission
from connections import services
from connections.engine_forms import ParametersForm
from connections.models import Connection, Engine
from connections.providers import registry
from connections.views.detail import page_context

PARAMETERS = "runtime_parameters"


def connection_or_404(pk: UUID) -> Connection:
    """A connection whose models run in an engine."""
    connection = get_object_or_404(Connection, pk=pk)
    kind = registry.providers().get(connection.kind)
    if kind is None or not kind.engine:
        raise Http404("This connection has no engine.")
    return connection


@requires(Permission.VIEW_CONNECTIONS)
@require_safe
def engine(request: PageRequest, pk: UUID) -> HttpResponse:
    """The card alone, which draws itself anew every few seconds; without scripts, the page that holds it."""
    connection = connection_or_404(pk)
    if not request.htmx:
        return redirect("connection", pk)
    return render(request, "connections/_engine.html", {"connection": connection})


@requires(Permission.TEST_CONNECTIONS)
@require_POST
def start(request: PageRequest, pk: UUID) -> HttpResponse:
    return _want(request, pk, True)


@requires(Permission.TEST_CONNECTIONS)
@require_POST
def stop(request: PageRequest, pk: UUID) -> HttpResponse:
    return _want(request, pk, False)


def _want(request: PageRequest, pk: UUID, wanted: bool) -> HttpResponse:
    connection = connection_or_404(pk)
    services.want_engine(request.user, connection, wanted)
    outcome = "starts within seconds" if wanted else "stops, and its memory is freed"
    messages.success(request, f"The engine of {connection.name} {outcome}.")
    return redirect("connection", pk)


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
def parameters(request: PageRequest, pk: UUID) -> HttpResponse:
    connection = connection_or_404(pk)
    row = Engine.objects.filter(pk=pk).first()
    if row is None or not row.parameters:
        messages.info(request, "What calls may set is known once the engine runs.")
        return redirect("connection", pk)
    form = ParametersForm(row.parameters, connection.settings.get(PARAMETERS, {}), posted(request))
    if form.is_valid() and _save(request, connection, form):
        messages.success(request, "The runtime parameters are saved. They hold from the next call on.")
        return redirect("connection", pk)
    context = page_context(connection, "connection", form=form)
    return render(request, "connections/engine_parameters.html", context, status=422 if form.errors else 200)


def _save(request: PageRequest, connection: Connection, form: ParametersForm) -> bool:
    settings = {**connection.settings, PARAMETERS: form.values()}
    try:
        services.update_connection(request.user, connection, revision=connection.revision, settings=settings)
    except (ValidationError, services.Conflict) as error:
        form.add_error(None, error.messages if isinstance(error, ValidationError) else str(error))
        return False
    return True
