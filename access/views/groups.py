"""Access groups: members here, grants on a connection's page."""

from django.contrib import messages
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from access import services
from access.forms import GroupForm, MemberForm, accepted
from access.models import EVERYONE, ApiKey, User
from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission


@requires(Permission.MANAGE_ACCESS)
@require_safe
def group_list(request: PageRequest) -> HttpResponse:
    groups = Group.objects.annotate(members=Count("user", distinct=True), grant_count=Count("grants", distinct=True))
    context = {"groups": groups.order_by("name"), "everyone": EVERYONE, "users": User.objects.count()}
    return render(request, "access/groups.html", context)


@requires(Permission.MANAGE_ACCESS)
@takes_form
def group_new(request: PageRequest) -> HttpResponse:
    form = GroupForm(posted(request))
    if group := accepted(form, lambda: services.create_group(request.user, **form.cleaned_data)):
        return redirect("group", group.pk)
    return render(request, "access/group_new.html", {"form": form}, status=422 if form.errors else 200)


@requires(Permission.MANAGE_ACCESS)
@takes_form
def group_detail(request: PageRequest, pk: int) -> HttpResponse:
    """Members and grants; a POST renames the group."""
    group = get_object_or_404(Group, pk=pk)
    form = GroupForm(posted(request), initial={"name": group.name})
    if accepted(form, lambda: services.rename_group(request.user, group, **form.cleaned_data)):
        messages.success(request, "The group was renamed.")
        return redirect("group", pk)
    return _show(request, group, form, MemberForm())


@requires(Permission.MANAGE_ACCESS)
@require_POST
def member_add(request: PageRequest, pk: int) -> HttpResponse:
    group = get_object_or_404(Group, pk=pk)
    form = MemberForm(request.POST)
    if accepted(form, lambda: services.add_member(request.user, group, form.cleaned_data["user"])):
        return redirect("group", pk)
    return _show(request, group, GroupForm(initial={"name": group.name}), form)


@requires(Permission.MANAGE_ACCESS)
@require_POST
def member_remove(request: PageRequest, pk: int, user_pk: int) -> HttpResponse:
    group = get_object_or_404(Group, pk=pk)
    services.remove_member(request.user, group, get_object_or_404(User, pk=user_pk))
    return redirect("group", pk)


@requires(Permission.MANAGE_ACCESS)
@require_POST
def group_delete(request: PageRequest, pk: int) -> HttpResponse:
    group = get_object_or_404(Group, pk=pk)
    try:
        services.delete_group(request.user, group)
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
        return redirect("group", pk)
    messages.success(request, f"{group} was deleted.")
    return redirect("groups")


def _show(request: PageRequest, group: Group, form: GroupForm, member_form: MemberForm) -> HttpResponse:
    built_in = group.name == EVERYONE
    others = User.objects.filter(is_active=True).exclude(groups=group)
    context = {
        "group": group,
        "built_in": built_in,
        "form": form,
        "member_form": member_form,
        "members": (User.objects.all() if built_in else group.user_set.all()).order_by("username")[:500],
        "others": () if built_in else others.order_by("username").values_list("username", flat=True)[:500],
        "grants": group.grants.select_related("connection", "model").order_by("connection__name"),
        "keys": ApiKey.objects.live().filter(owner__groups=group).count(),
    }
    refused = form.errors or member_form.errors
    return render(request, "access/group.html", context, status=422 if refused else 200)
