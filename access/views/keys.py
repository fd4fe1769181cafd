"""API keys: one's own, or everybody's for those who manage access."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_POST, require_safe

from access import reach, services
from access.filters import KeyFilter
from access.forms import KeyForm, accepted
from access.models import ApiKey
from access.paging import page_after
from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission


@requires(Permission.MANAGE_OWN_KEYS)
@require_safe
def key_list(request: PageRequest) -> HttpResponse:
    chosen = KeyFilter(request.GET, ApiKey.objects.visible_to(request.user).select_related("owner"))
    page = page_after(chosen.qs, request.GET.get("after", ""))
    return render(request, "access/keys.html", {"page": page, "filter": chosen.form})


@requires(Permission.MANAGE_OWN_KEYS)
@takes_form
@cache_control(no_store=True)
def key_new(request: PageRequest) -> HttpResponse:
    """The form; after it, once, the key itself."""
    form = KeyForm(posted(request), user=request.user)
    if made := accepted(form, lambda: services.issue_key(request.user, **form.cleaned_data)):
        row, key = made
        models = row.allowed_models or sorted(reach.usable(row.owner.principal))
        context = {
            "row": row,
            "key": key,
            "base_url": settings.BASE_URL,
            "model": models[0] if models else "connection/model",
        }
        return render(request, "access/key_once.html", context)
    return render(request, "access/key_new.html", {"form": form}, status=422 if form.errors else 200)


@requires(Permission.MANAGE_OWN_KEYS)
@require_POST
def key_revoke(request: PageRequest, public_id: str) -> HttpResponse:
    row = get_object_or_404(ApiKey.objects.visible_to(request.user), public_id=public_id)
    services.revoke_key(request.user, row)
    messages.success(request, f"The key {row.name} was revoked; it is refused everywhere within two seconds.")
    return redirect("keys")
