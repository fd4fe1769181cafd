"""The tab about who may use a connection."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from access.models import EVERYONE, User
from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission, roles_that_may
from connections import services
from connections.forms import GrantForm
from connections.models import Connection, Grant
from connections.views.detail import page_context


@requires(Permission.VIEW_CONNECTIONS)
@takes_form
def access(request: PageRequest, pk: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, pk=pk)
    form = GrantForm(posted(request), connection=connection)
    if form.is_valid():
        return _grant(request, form)
    grants = connection.grants.select_related("group", "model").order_by("group__name", "model__public_id")
    context = page_context(connection, "connection-access", form=form, grants=grants, people=_people(connection))
    return render(request, "connections/access.html", context, status=422 if form.errors else 200)


def _grant(request: PageRequest, form: GrantForm) -> HttpResponse:
    if not request.user.may(Permission.MANAGE_CONNECTIONS):
        raise PermissionDenied("Only those who manage connections may grant them.")
    row = services.grant(request.user, form.cleaned_data["group"], form.connection, form.cleaned_data["model"])
    messages.success(request, f"{row.group} may use {row.model or 'all models of this connection'}.")
    return redirect("connection-access", form.connection.pk)


def _people(connection: Connection) -> list[User]:
    """Who can use at least one model of the connection."""
    groups = Group.objects.filter(grants__connection=connection)
    askers = User.objects.filter(is_active=True, role__in=roles_that_may(Permission.USE_MODELS)).order_by("username")
    return list(askers if groups.filter(name=EVERYONE).exists() else askers.filter(groups__in=groups).distinct())


@requires(Permission.MANAGE_CONNECTIONS)
@require_POST
def revoke(request: PageRequest, pk: UUID, grant: int) -> HttpResponse:
    row = get_object_or_404(Grant, pk=grant, connection=pk)
    services.revoke(request.user, row)
    messages.success(request, f"{row.group} may no longer use {row.model or 'this connection'}.")
    return redirect("connection-access", pk)
