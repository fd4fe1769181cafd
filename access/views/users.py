"""Users: who there is, what they may do, and why they can use a model or not."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_POST, require_safe

from access import reach, services
from access.filters import UserFilter
from access.forms import NewUserForm, UserForm, accepted
from access.models import User
from access.paging import page_after
from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission


@requires(Permission.MANAGE_ACCESS)
@require_safe
def user_list(request: PageRequest) -> HttpResponse:
    chosen = UserFilter(request.GET, User.objects.prefetch_related("groups"))
    page = page_after(chosen.qs, request.GET.get("after", ""), by="username")
    return render(request, "access/users.html", {"page": page, "filter": chosen.form})


@requires(Permission.MANAGE_ACCESS)
@takes_form
@cache_control(no_store=True)
def user_new(request: PageRequest) -> HttpResponse:
    """The form; after it, once, the new account's temporary password."""
    form = NewUserForm(posted(request))
    if made := accepted(form, lambda: services.create_user(request.user, **form.cleaned_data)):
        user, password = made
        return render(request, "access/password_once.html", {"member": user, "password": password})
    return render(request, "access/user_new.html", {"form": form}, status=422 if form.errors else 200)


@requires(Permission.MANAGE_ACCESS)
@takes_form
def user_detail(request: PageRequest, pk: int) -> HttpResponse:
    member = get_object_or_404(User, pk=pk)
    form = UserForm(posted(request), initial=UserForm.stored(member))
    if accepted(form, lambda: services.update_user(request.user, member, **form.cleaned_data)):
        messages.success(request, f"{member} was changed.")
        return redirect("user", pk)
    context = {
        "member": member,
        "form": form,
        "models": reach.explain(member.principal),
        "keys": member.api_keys.all()[:20],
    }
    return render(request, "access/user.html", context, status=422 if form.errors else 200)


@requires(Permission.MANAGE_ACCESS)
@require_POST
@cache_control(no_store=True)
def user_password(request: PageRequest, pk: int) -> HttpResponse:
    """Set a temporary password and show it once."""
    member = get_object_or_404(User, pk=pk)
    password = services.set_temporary_password(request.user, member)
    return render(request, "access/password_once.html", {"member": member, "password": password})
