"""What the pages of limits and of budgets do alike: list them, and add one for somebody or something."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.http import HttpResponse
from django.shortcuts import render
from django_filters import FilterSet

from access.forms import accepted
from access.paging import page_after
from access.requests import PageRequest, posted
from gateway.subject_form import SubjectForm

Row = TypeVar("Row")


def listing(
    request: PageRequest, chosen: FilterSet, listed: Callable[[Sequence[Any]], list[Any]], template: str
) -> HttpResponse:
    page = page_after(chosen.qs, request.GET.get("after", ""))
    context = {"page": page, "listed": listed(page.rows), "filter": chosen.form, "any": chosen.queryset.exists()}
    return render(request, template, context)


def adding(
    request: PageRequest,
    kind: type[SubjectForm],
    template: str,
    add: Callable[..., Row],
    added: Callable[[Row], HttpResponse],
) -> HttpResponse:
    """The form, whose subjects follow the scope: asked for by htmx, or by a button where no script runs."""
    if request.htmx or "choose" in request.POST:
        form = kind(initial=(request.POST or request.GET).dict())
        return render(request, "gateway/_subject.html" if request.htmx else template, {"form": form})
    form = kind(posted(request), initial=request.GET.dict())
    if row := accepted(form, lambda: add(request.user, **form.cleaned_data)):
        return added(row)
    return render(request, template, {"form": form}, status=422 if form.errors else 200)
