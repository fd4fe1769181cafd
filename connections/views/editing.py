"""The tab with a connection's settings."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission
from connections import services
from connections.account import Account, SettingsRefused
from connections.forms import ConnectionForm, SettingsForm
from connections.models import Connection
from connections.views.detail import page_context


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
@sensitive_post_parameters()
@never_cache
def edit(request: PageRequest, pk: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, pk=pk)
    try:
        options, settings = _edit_forms(connection, posted(request))
    except services.Unusable as problem:
        messages.error(request, str(problem))
        return redirect("connection", pk)
    if all([options.is_valid(), settings.is_valid()]):
        try:
            services.update_connection(
                request.user,
                connection,
                revision=options.cleaned_data["revision"],
                options=options.changes(),
                settings=settings.typed_settings(),
                typed=settings.typed_secrets(),
            )
        except services.Conflict as conflict:
            options.rebase(Connection.objects.get(pk=pk).revision, str(conflict))
        except SettingsRefused as refusal:
            settings.refuse(refusal)
        except ValidationError as refusal:
            options.add_error(None, refusal)
        else:
            messages.success(request, f"{connection.name} is saved. Its next check runs within seconds.")
            return redirect("connection", pk)
    context = page_context(connection, "connection-edit", options=options, settings=settings)
    return render(request, "connections/edit.html", context, status=422 if options.errors or settings.errors else 200)


def _edit_forms(connection: Connection, data: QueryDict | None) -> tuple[ConnectionForm, SettingsForm]:
    def settle(given: Mapping[str, Any], typed: Mapping[str, Any]) -> Account:
        return services.settle_again(connection, given, typed)

    account = services.stored_account(connection)
    settings = SettingsForm(account.kind, settle, data, initial=account.settings, stored=frozenset(account.secrets))
    return ConnectionForm(data, connection=connection, has_models=bool(account.kind.modes)), settings
