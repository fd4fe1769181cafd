"""Groups: their names and members. What they may use is granted on a connection's page."""

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction

from access import audit, departures
from access.models import EVERYONE, User
from access.services.names import checked


@transaction.atomic
def create_group(actor: User, name: str) -> Group:
    group = Group.objects.create(name=checked(name, Group.objects.values_list("name", flat=True), field="name"))
    audit.record(actor, "group.created", group, after={"name": group.name})
    return group


@transaction.atomic
def rename_group(actor: User, group: Group, name: str) -> Group:
    _refuse_built_in(group)
    others = Group.objects.exclude(pk=group.pk).values_list("name", flat=True)
    before, group.name = group.name, checked(name, others, field="name")
    group.save(update_fields=["name"])
    audit.record(actor, "group.renamed", group, before={"name": before}, after={"name": group.name})
    return group


@transaction.atomic
def delete_group(actor: User, group: Group) -> None:
    _refuse_built_in(group)
    members = sorted(group.user_set.values_list("username", flat=True))
    departures.announce(actor, group)
    audit.record(actor, "group.deleted", group, before={"name": group.name, "members": members})
    group.delete()


@transaction.atomic
def add_member(actor: User, group: Group, user: User) -> Group:
    _refuse_built_in(group)
    if not group.user_set.filter(pk=user.pk).exists():
        user.groups.add(group)
        audit.record(actor, "group.member_added", group, after={"member": user.username})
    return group


@transaction.atomic
def remove_member(actor: User, group: Group, user: User) -> None:
    if group.user_set.filter(pk=user.pk).exists():
        user.groups.remove(group)
        audit.record(actor, "group.member_removed", group, before={"member": user.username})


def _refuse_built_in(group: Group) -> None:
    if group.name == EVERYONE:
        raise ValidationError({"name": [f"{EVERYONE} is built in: it always holds every user."]})
