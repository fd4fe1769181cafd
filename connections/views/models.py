"""The tab about a connection's models: which are allowed, which are on, at what price."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import pluralize
from django.views.decorators.http import require_POST, require_safe

from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission
from connections import runtime, services, trials
from connections.model_forms import ModelOptionsForm, ModelSettingsForm, OwnModelsForm
from connections.models import Connection, Model
from connections.providers import registry
from connections.providers.calls import ModelInfo
from connections.providers.errors import ProviderError
from connections.views.detail import page_context
from connections.views.wizard import offers_of, ticked


@requires(Permission.VIEW_CONNECTIONS)
@require_safe
def models(request: PageRequest, pk: UUID) -> HttpResponse:
    connection = get_object_or_404(Connection, pk=pk)
    query = request.GET.get("q", "").strip()[:300]
    context = page_context(connection, "connection-models", query=query)
    context["found"] = connection.models.filter(public_id__icontains=query).prefetch_related("prices")
    return render(request, "connections/models.html#table" if request.htmx else "connections/models.html", context)


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
def add_models(request: PageRequest, pk: UUID) -> HttpResponse:
    """Allow more models: ticked in what the provider lists, or typed."""
    connection = get_object_or_404(Connection, pk=pk)
    offered, problem = _offered(connection)
    form = OwnModelsForm(registry.providers().get(connection.kind), posted(request))
    if form.is_valid():
        choices = [*ticked(offered, request.POST.getlist("offered")), *form.choices()]
        added = services.add_models(request.user, connection, choices)
        messages.success(request, f"{len(added)} model{pluralize(len(added))} added.")
        return redirect("connection-models", pk)
    known = set(connection.models.values_list("upstream_id", "mode"))
    offers = [offer for offer in offers_of(offered, known) if not offer[2]]
    context = page_context(connection, "connection-models", form=form, offers=offers, problem=problem)
    context["all_added"] = bool(offered) and not offers
    return render(request, "connections/add_models.html", context, status=422 if form.errors else 200)


def _offered(connection: Connection) -> tuple[list[ModelInfo], str]:
    """What the provider lists, or its catalogue and what was wrong."""
    try:
        provider = services.provider_of(connection)
        return runtime.run(trials.models_at(provider, connection.ca_certificate)), ""
    except services.Unusable as error:
        return [], str(error)
    except ProviderError as error:
        return list(connection.provider_class.catalogue), error.message


@requires(Permission.MANAGE_CONNECTIONS)
@require_POST
def switch_models(request: PageRequest, pk: UUID) -> HttpResponse:
    """Enable or disable the ticked models."""
    connection = get_object_or_404(Connection, pk=pk)
    enabled = request.POST.get("switch") == "on"
    chosen = connection.models.filter(public_id__in=request.POST.getlist("models"))
    count = services.enable_models(request.user, connection, chosen, enabled)
    messages.success(request, f"{count} model{pluralize(count)} switched {'on' if enabled else 'off'}.")
    return redirect("connection-models", pk)


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
def model(request: PageRequest, pk: UUID, model: UUID) -> HttpResponse:
    """What an admin says about one model."""
    found = get_object_or_404(Model.objects.select_related("connection"), pk=model, connection=pk)
    initial = {name: getattr(found, name) for name in ModelSettingsForm.SAID}
    form = ModelSettingsForm(posted(request), initial=initial)
    kind = registry.providers().get(found.connection.kind)
    options = ModelOptionsForm(kind, posted(request), initial=found.options)
    if all([form.is_valid(), options.is_valid()]):
        try:
            services.update_model(request.user, found, {**form.changes(), "options": options.options})
        except ValidationError as refusal:
            form.add_error(None, refusal.messages)
        else:
            messages.success(request, f"{found} is saved.")
            return redirect("connection-models", pk)
    context = page_context(found.connection, "connection-models", form=form, options=options, model=found)
    refused = form.errors or options.errors
    return render(request, "connections/model.html", context, status=422 if refused else 200)


@requires(Permission.MANAGE_CONNECTIONS)
@require_POST
def remove_model(request: PageRequest, pk: UUID, model: UUID) -> HttpResponse:
    found = get_object_or_404(Model, pk=model, connection=pk)
    services.remove_model(request.user, found)
    messages.success(request, f"{found} is removed.")
    return redirect("connection-models", pk)
