"""Pages about budgets; one's own stand beside one's limits."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from access.forms import accepted
from access.permissions import requires
from access.requests import PageRequest, takes_form
from access.roles import Permission
from gateway import subjects
from gateway.budgets import acts, shown, words
from gateway.budgets.filters import BudgetFilter
from gateway.budgets.forms import BudgetForm, EndForm, OverrideForm, TellingForm
from gateway.models import Budget, BudgetOverride
from gateway.subject_views import adding, listing

PAST = 12
"""Windows that a budget's page lists."""


@requires(Permission.VIEW_USAGE)
@require_safe
def budgets(request: PageRequest) -> HttpResponse:
    chosen = BudgetFilter(request.GET, Budget.objects.all())
    return listing(request, chosen, shown.listed, "gateway/budgets.html")


@requires(Permission.MANAGE_ACCESS)
@takes_form
def budget_new(request: PageRequest) -> HttpResponse:
    def added(row: Budget) -> HttpResponse:
        messages.success(request, f"{words.text(row)} for {subjects.name(row)}: counted from now on.")
        return redirect("budget", row.pk)

    return adding(request, BudgetForm, "gateway/budget_new.html", acts.add_budget, added)


@requires(Permission.VIEW_USAGE)
@require_safe
def budget(request: PageRequest, pk: int) -> HttpResponse:
    """One budget, its windows and overrides."""
    return _page(request, get_object_or_404(Budget, pk=pk))


@requires(Permission.MANAGE_ACCESS)
@require_POST
def budget_change(request: PageRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Budget, pk=pk)
    form = EndForm(request.POST, initial=EndForm.of(row))
    if changed := accepted(form, lambda: acts.change_budget(request.user, row, **form.cleaned_data)):
        messages.success(request, f"{subjects.name(changed)} has {words.text(changed)} now.")
        return redirect("budget", pk)
    return _page(request, row, form=form)


@requires(Permission.MANAGE_ACCESS)
@require_POST
def budget_tell(request: PageRequest, pk: int) -> HttpResponse:
    """Whom to tell, and when."""
    row = get_object_or_404(Budget, pk=pk)
    form = TellingForm(request.POST, initial=TellingForm.of(shown.telling_of(row)))
    accepted(form, lambda: acts.tell_of_budget(request.user, row, **form.cleaned_data))
    if form.errors:
        return _page(request, row, telling=form)
    messages.success(request, "Saved who is told.")
    return redirect("budget", pk)


@requires(Permission.MANAGE_ACCESS)
@require_POST
def budget_override(request: PageRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Budget, pk=pk)
    form = OverrideForm(request.POST, initial={"what": row.what})
    if made := accepted(form, lambda: acts.override_budget(request.user, row, **form.cleaned_data)):
        messages.success(request, f"{words.override(made)}. Every process knows within two seconds.")
        return redirect("budget", pk)
    return _page(request, row, override=form)


@requires(Permission.MANAGE_ACCESS)
@require_POST
def budget_override_revoke(request: PageRequest, pk: int, override: int) -> HttpResponse:
    row = get_object_or_404(BudgetOverride, budget=pk, pk=override)
    acts.revoke_override(request.user, row)
    messages.success(request, f"{words.override(row)}: revoked.")
    return redirect("budget", pk)


@requires(Permission.MANAGE_ACCESS)
@require_POST
def budget_switch(request: PageRequest, pk: int) -> HttpResponse:
    """On, or off: `enabled` says which, so that two who press at once want the same."""
    row = acts.change_budget(
        request.user, get_object_or_404(Budget, pk=pk), enabled=request.POST.get("enabled") == "yes"
    )
    counted = "is counted again" if row.enabled else "is switched off; nothing is counted against it"
    messages.success(request, f"{words.text(row)} for {subjects.name(row)} {counted}.")
    return redirect("budget", pk)


@requires(Permission.MANAGE_ACCESS)
@require_POST
def budget_remove(request: PageRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Budget, pk=pk)
    told = f"{words.text(row)} for {subjects.name(row)}"
    acts.remove_budget(request.user, row)
    messages.success(request, f"{told}: removed.")
    return redirect("budgets")


def _page(
    request: PageRequest,
    row: Budget,
    *,
    form: EndForm | None = None,
    override: OverrideForm | None = None,
    telling: TellingForm | None = None,
) -> HttpResponse:
    """With the form that was refused, if one was."""
    (one,), told = shown.listed([row]), shown.telling_of(row)
    context = {
        "shown": one,
        "form": form or EndForm(initial=EndForm.of(row)),
        "override": override or OverrideForm(initial={"what": row.what}),
        "telling": telling or TellingForm(initial=TellingForm.of(told)),
        "notices": told.notices,
        "past": shown.past(row, PAST),
    }
    return render(request, "gateway/budget.html", context, status=422 if form or override or telling else 200)
