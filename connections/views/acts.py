"""What a button on a connection does."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission
from connections import services, tasks
from connections.forms import DeleteForm
from connections.models import Connection
from connections.rows import rows_of


@requires(Permission.TEST_CONNECTIONS)
@require_POST
def check(request: PageRequest, pk: UUID) -> HttpResponse:
    """Run the free check now and show its result in the row."""
    get_object_or_404(Connection, pk=pk)
    tasks.check_connection(str(pk))
    row = rows_of([get_object_or_404(Connection, pk=pk)])[0]
    if request.htmx:
        return render(request, "connections/list.html#row", {"row": row})
    messages.info(request, f"{row.connection}: {row.connection.get_state_display()}. {row.connection.cause}")
    return redirect("connections")


@requires(Permission.TEST_CONNECTIONS)
@require_POST
def pause(request: PageRequest, pk: UUID) -> HttpResponse:
    return _set_paused(request, pk, True)


@requires(Permission.TEST_CONNECTIONS)
@require_POST
def resume(request: PageRequest, pk: UUID) -> HttpResponse:
    return _set_paused(request, pk, False)


def _set_paused(request: PageRequest, pk: UUID, paused: bool) -> HttpResponse:
    connection = services.set_paused(request.user, get_object_or_404(Connection, pk=pk), paused)
    outcome = "is paused: its models answer nobody" if paused else "runs again"
    messages.success(request, f"{connection.name} {outcome}.")
    return redirect("connections")


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
def delete(request: PageRequest, pk: UUID) -> HttpResponse:
    """Say what breaks, and ask for the name."""
    connection = get_object_or_404(Connection, pk=pk)
    form = DeleteForm(posted(request), connection=connection)
    if form.is_valid():
        try:
            services.delete_connection(request.user, connection)
        except services.InUse as problem:
            form.add_error(None, str(problem))
        else:
            messages.success(request, f"{connection.name} is deleted.")
            return redirect("connections")
    context = {"connection": connection, "form": form, "consequences": services.consequences(connection)}
    return render(request, "connections/delete.html", context, status=422 if form.errors else 200)
