"""A page for each query template of a model: how an endpoint that speaks no known dialect is asked and understood."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST
from msgspec import structs

from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission
from connections import services
from connections.models import Model
from connections.providers import registry, wire
from connections.providers.errors import ProviderError
from connections.providers.query_template import QueryTemplate, template_names
from connections.providers.query_template_samples import call_of
from connections.providers.query_template_tree import CIRCUMSTANCES, CONTENT, PARAMETERS
from connections.template_forms import TemplateForm, with_room
from connections.views.detail import page_context


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
def template(request: PageRequest, pk: UUID, model: UUID, name: str) -> HttpResponse:
    found = _found(pk, model, name)
    form = TemplateForm(posted(request), stored=found.options.get(name))
    if form.is_valid() and form.template:
        written = form.template.model_dump(mode="json", exclude_defaults=True)
        try:
            services.update_model(request.user, found, {"options": {**found.options, name: written}})
        except ValidationError as refusal:
            form.add_error(None, refusal.messages)
        else:
            messages.success(request, f"The query template of {found} is saved.")
            return redirect("connection-model", pk, model)
    return _page(request, found, name, form)


@requires(Permission.MANAGE_CONNECTIONS)
@require_POST
def try_template(request: PageRequest, pk: UUID, model: UUID, name: str) -> HttpResponse:
    """What would be sent, and how the samples fare, without saving anything."""
    found = _found(pk, model, name)
    data = request.POST if request.htmx else with_room(request.POST)
    form = TemplateForm(data, stored=found.options.get(name), proves=False)
    form.is_valid()
    if request.htmx:
        context = {"form": form, "preview": preview_of(form, found)}
        return render(request, "connections/_template_tried.html", context)
    return _page(request, found, name, form)


@requires(Permission.MANAGE_CONNECTIONS)
@require_POST
def remove_template(request: PageRequest, pk: UUID, model: UUID, name: str) -> HttpResponse:
    found = _found(pk, model, name)
    kept = {option: value for option, value in found.options.items() if option != name}
    services.update_model(request.user, found, {"options": kept})
    messages.success(request, f"The query template of {found} is removed.")
    return redirect("connection-model", pk, model)


def _found(pk: UUID, model: UUID, name: str) -> Model:
    found = get_object_or_404(Model.objects.select_related("connection"), pk=model, connection=pk)
    kind = registry.providers().get(found.connection.kind)
    if kind is None or name not in template_names(kind.ModelOptions):
        raise Http404
    return found


def _page(request: PageRequest, found: Model, name: str, form: TemplateForm) -> HttpResponse:
    info = found.connection.provider_class.ModelOptions.model_fields[name]
    placeholders = {"What is asked": CONTENT, "Parameters": PARAMETERS, "About the call": CIRCUMSTANCES}
    context = page_context(
        found.connection, "connection-models", model=found, name=name, info=info, form=form,
        preview=preview_of(form, found), placeholders=placeholders, stored=name in found.options,
    )  # fmt: skip
    status = 422 if form.is_bound and form.proves and not form.is_valid() else 200
    return render(request, "connections/template.html", context, status=status)


@dataclass(frozen=True, slots=True)
class Preview:
    """What is sent for the sample call, or why nothing is."""

    body: str = ""
    template: QueryTemplate | None = None
    adjusted: tuple[str, ...] = ()
    problem: str = ""


def preview_of(form: TemplateForm, model: Model) -> Preview:
    """An unbound form shows what it begins with."""
    if form.is_bound:
        shown, given = form.template, form.cleaned_data.get("sample_call")
    else:
        shown, given = form.begun, form.initial["sample_call"]
    if shown is None:
        return Preview(problem="As soon as the template can be read, the request stands here.")
    try:
        call = call_of(given)
        call.target = structs.replace(model.target, mode=call.mode)
        body = json.loads(wire.encode(shown.body(call)))
    except (ProviderError, ValueError) as error:
        return Preview(problem=str(error))
    return Preview(_pretty(body), shown, tuple(map(str, call.adjusted)))


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
