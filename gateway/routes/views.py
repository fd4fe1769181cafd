"""The pages about routes."""

from typing import Any

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from access.forms import accepted
from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission
from gateway.models import Route, RouteTarget
from gateway.routes import acts
from gateway.routes.forms import RouteForm, Targets, changed_forms, target_forms

WITH_TARGETS = Prefetch("targets", RouteTarget.objects.select_related("model__connection"))


@requires(Permission.VIEW_CONNECTIONS)
@require_safe
def route_list(request: PageRequest) -> HttpResponse:
    return render(request, "gateway/routes.html", {"routes": Route.objects.prefetch_related(WITH_TARGETS)})


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
def route_new(request: PageRequest) -> HttpResponse:
    form, targets = RouteForm(posted(request)), target_forms(posted(request), None)
    options: dict[str, Any] = {"targets": targets.chosen()} if targets.is_valid() else {}
    made = accepted(form, lambda: acts.create_route(request.user, **form.cleaned_data, **options)) if options else None
    if made:
        messages.success(request, f"{made} can be asked now.")
        return redirect("routes")
    return _show(request, form, targets, None)


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
def route_edit(request: PageRequest, pk: int) -> HttpResponse:
    route = get_object_or_404(Route, pk=pk)
    form = RouteForm(posted(request), initial=acts.described(route))
    targets = target_forms(posted(request), route)
    options: dict[str, Any] = {"targets": targets.chosen()} if targets.is_valid() else {}
    changed = (
        accepted(form, lambda: acts.update_route(request.user, pk, **form.cleaned_data, **options)) if options else None
    )
    if changed:
        messages.success(request, "The route was changed.")
        return redirect("routes")
    return _show(request, form, targets, route)


@requires(Permission.MANAGE_CONNECTIONS)
@require_POST
def route_rows(request: PageRequest, pk: int | None = None) -> HttpResponse:
    """The form again with a row more, or one less; nothing is stored."""
    targets = changed_forms(request.POST)
    context = {"targets": targets, "route": get_object_or_404(Route, pk=pk) if pk else None}
    if request.htmx:
        return render(request, "gateway/route.html#targets", context)
    return render(request, "gateway/route.html", {**context, "form": RouteForm.refilled(request.POST)})


@requires(Permission.MANAGE_CONNECTIONS)
@require_POST
def route_delete(request: PageRequest, pk: int) -> HttpResponse:
    route = get_object_or_404(Route, pk=pk)
    acts.delete_route(request.user, route)
    messages.success(request, f"{route} was deleted.")
    return redirect("routes")


def _show(request: PageRequest, form: RouteForm, targets: Targets, route: Route | None) -> HttpResponse:
    context = {"form": form, "targets": targets, "route": route}
    return render(request, "gateway/route.html", context, status=422 if request.method == "POST" else 200)
