"""Pages about limits: everybody's for those who see usage, one's own for all."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from access.authentication import narrowed
from access.forms import accepted
from access.models import ApiKey
from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission
from connections.models import Model
from gateway import subjects
from gateway.budgets import shown as budgets
from gateway.limits import acts, shown
from gateway.limits.filters import LimitFilter
from gateway.limits.forms import AmountForm, LimitForm
from gateway.models import Limit
from gateway.subject_views import adding, listing


@requires(Permission.VIEW_USAGE)
@require_safe
def limits(request: PageRequest) -> HttpResponse:
    chosen = LimitFilter(request.GET, Limit.objects.all())
    return listing(request, chosen, shown.listed, "gateway/limits.html")


@requires(Permission.MANAGE_ACCESS)
@takes_form
def limit_new(request: PageRequest) -> HttpResponse:
    def added(row: Limit) -> HttpResponse:
        messages.success(request, f"{row.text} for {subjects.name(row)}: counted from now on.")
        return redirect("limits")

    return adding(request, LimitForm, "gateway/limit_new.html", acts.add_limit, added)


@requires(Permission.MANAGE_ACCESS)
@takes_form
def limit_change(request: PageRequest, pk: int) -> HttpResponse:
    limit = get_object_or_404(Limit, pk=pk)
    form = AmountForm(posted(request), initial={"amount": limit.amount})
    if row := accepted(form, lambda: acts.change_limit(request.user, limit, **form.cleaned_data)):
        messages.success(request, f"{subjects.name(row)} has {row.text} now.")
        return redirect("limits")
    (one,) = shown.listed([limit])
    context = {"form": form, "shown": one}
    return render(request, "gateway/limit.html", context, status=422 if form.errors else 200)


@requires(Permission.MANAGE_ACCESS)
@require_POST
def limit_switch(request: PageRequest, pk: int) -> HttpResponse:
    """On, or off: `enabled` says which, so that two who press at once want the same."""
    limit = get_object_or_404(Limit, pk=pk)
    row = acts.change_limit(request.user, limit, enabled=request.POST.get("enabled") == "yes")
    counted = "is counted again" if row.enabled else "is switched off; nothing is counted against it"
    messages.success(request, f"{row.text} for {subjects.name(row)} {counted}.")
    return redirect("limits")


@requires(Permission.MANAGE_ACCESS)
@require_POST
def limit_remove(request: PageRequest, pk: int) -> HttpResponse:
    limit = get_object_or_404(Limit, pk=pk)
    told = f"{limit.text} for {subjects.name(limit)}"
    acts.remove_limit(request.user, limit)
    messages.success(request, f"{told}: removed.")
    return redirect("limits")


@requires()
@require_safe
def my_limits(request: PageRequest) -> HttpResponse:
    """What one's own calls have to pass and are paid from; with `?key=`, those made with that key."""
    principal = request.user.principal
    key = None
    if public_id := request.GET.get("key", ""):
        key = get_object_or_404(ApiKey.objects.visible_to(request.user).select_related("owner"), public_id=public_id)
        principal = narrowed(key.owner.principal, key)
    usable = Model.objects.usable_by(principal)
    context = {
        "limits": shown.applying(principal, usable),
        "budgets": budgets.applying(principal, usable),
        "key": key,
        "usable": usable.exists(),
    }
    return render(request, "gateway/my_limits.html", context)
