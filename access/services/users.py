"""Users: who they are, what role they have, whether they may sign in."""

import secrets
from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction

from access import audit
from access.models import EVERYONE, User
from access.roles import Role
from access.services.names import checked
from access.services.sessions import end_all_sessions

EASY_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that look like another."""


def readable_password() -> str:
    """Easy to read out and type, hard to guess: 79 bits."""
    return "-".join("".join(secrets.choice(EASY_LETTERS) for _ in range(4)) for _ in range(4))


@transaction.atomic
def create_user(
    actor: User, *, username: str, email: str = "", role: str = Role.ANALYST, groups: Iterable[Group] = ()
) -> tuple[User, str]:
    """Make an account. Returns it with its temporary password, which nothing can show again."""
    name = checked(username, User.objects.values_list("username", flat=True), field="username")
    password = readable_password()
    user = User.objects.create_user(name, _free_email(email), password, role=role)
    user.groups.set(_listed(groups))
    audit.record(actor, "user.created", user, after=_described(user))
    return user, password


@transaction.atomic
def update_user(actor: User, user: User, *, email: str, role: str, groups: Iterable[Group], is_active: bool) -> User:
    """Change an account. A new role or a lock ends its sessions."""
    user = User.objects.select_for_update().get(pk=user.pk)
    demoted = user.role == Role.ADMIN and (role != Role.ADMIN or not is_active)
    if demoted:
        _keep_an_admin(actor, user)
    before = _described(user)
    ends_sessions = role != user.role or is_active != user.is_active
    user.email, user.role, user.is_active = _free_email(email, user), role, is_active
    user.save(update_fields=["email", "role", "is_active"])
    user.groups.set(_listed(groups))
    if ends_sessions:
        end_all_sessions(user)
    audit.record_change(actor, "user.changed", user, before, _described(user))
    return user


@transaction.atomic
def set_temporary_password(actor: User, user: User) -> str:
    """Give a user a new password, end their sessions, and return it once."""
    password = readable_password()
    user.set_password(password)
    user.save(update_fields=["password"])
    end_all_sessions(user)
    audit.record(actor, "user.password_set", user)
    return password


@transaction.atomic
def change_own_password(user: User, password: str) -> None:
    user.set_password(password)
    user.save(update_fields=["password"])
    end_all_sessions(user)
    audit.record(user, "user.password_changed", user, configures=False)


def _keep_an_admin(actor: User, user: User) -> None:
    """Nobody locks themselves out, and nobody locks everybody out."""
    if actor.pk == user.pk:
        raise ValidationError({"role": ["You cannot demote or disable your own account; ask another admin."]})
    admins = User.objects.select_for_update().filter(role=Role.ADMIN, is_active=True)
    if not [admin for admin in admins if admin.pk != user.pk]:
        raise ValidationError({"role": ["This is the last active admin."]})


def _free_email(email: str, user: User | None = None) -> str:
    """Users may sign in by address, so it belongs to one of them."""
    email = User.objects.normalize_email(email)
    others = User.objects.exclude(pk=user.pk) if user else User.objects.all()
    if email and others.filter(email__iexact=email).exists():
        raise ValidationError({"email": ["Another user has this address."]})
    return email


def _listed(groups: Iterable[Group]) -> list[Group]:
    """Everybody is in Everyone without being listed there."""
    return [group for group in groups if group.name != EVERYONE]


def _described(user: User) -> dict[str, Any]:
    return {
        "username": user.username,
        "email": user.email,
        "role": user.role,
        "active": user.is_active,
        "groups": sorted(user.groups.values_list("name", flat=True)),
    }
