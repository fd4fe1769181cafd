"""What one model costs: the price that holds, those that admins set, and when."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission
from connections import services
from connections.model_forms import PriceForm
from connections.models import Model, Price
from connections.views.detail import page_context


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
def prices(request: PageRequest, pk: UUID, model: UUID) -> HttpResponse:
    found = get_object_or_404(Model.objects.select_related("connection"), pk=model, connection=pk)
    form = PriceForm(posted(request))
    if form.is_valid():
        dates = {name: form.cleaned_data[name] for name in ("starts", "ends", "note")}
        try:
            services.set_price(request.user, found, form.amounts(), **dates)
        except ValidationError as refusal:
            form.refuse(refusal)
        else:
            messages.success(request, f"The price of {found} is set.")
            return redirect("connection-model-prices", pk, model)
    context = page_context(found.connection, "connection-models", form=form, model=found, own=found.prices.all())
    return render(request, "connections/prices.html", context, status=422 if form.errors else 200)


@requires(Permission.MANAGE_CONNECTIONS)
@require_POST
def end_price(request: PageRequest, pk: UUID, model: UUID, price: int) -> HttpResponse:
    found = get_object_or_404(Price.objects.select_related("model"), pk=price, model=model, model__connection=pk)
    try:
        services.end_price(request.user, found)
    except ValidationError as refusal:
        messages.error(request, refusal.messages[0])
    else:
        messages.success(request, "The price is ended.")
    return redirect("connection-model-prices", pk, model)
