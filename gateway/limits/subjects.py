"""Whom or what a limit may be about: how a person picks it, how a row names it, where its page is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import Model as Row
from django.db.models import Q, QuerySet
from django.urls import reverse

from access.models import ApiKey, User
from connections.models import Connection, Model
from gateway.models import Limit

MOST = 500
"""Subjects that one search looks through, or one list offers."""


@dataclass(frozen=True, slots=True)
class Sort:
    """The subjects of one scope."""

    label: str
    icon: str
    rows: Callable[[], QuerySet[Any]]
    key: str
    """The column that stands in the limit."""
    typed: str
    """The column that people pick or type."""
    page: Callable[[Any], str]
    called: Callable[[Any], str] = str
    searched: Sequence[str] = ()
    """The columns, beside `typed`, by which it is found."""

    @property
    def title(self) -> str:
        return self.label[0].upper() + self.label[1:]


SORTS: Mapping[str, Sort] = {
    Limit.Scope.USER: Sort(
        label="user",
        icon="user",
        rows=User.objects.all,
        key="pk",
        typed="username",
        page=lambda user: reverse("user", args=[user.pk]),
    ),
    Limit.Scope.GROUP: Sort(
        label="group",
        icon="users-group",
        rows=Group.objects.all,
        key="pk",
        typed="name",
        page=lambda group: reverse("group", args=[group.pk]),
    ),
    Limit.Scope.KEY: Sort(
        label="API key",
        icon="key",
        rows=lambda: ApiKey.objects.filter(revoked_at=None).select_related("owner"),
        key="public_id",
        typed="public_id",
        searched=("name", "owner__username"),
        called=lambda key: f"{key.name} (mesh_{key.public_id}…) of {key.owner.username}",
        page=lambda key: f"{reverse('keys')}?q={key.public_id}",
    ),
    Limit.Scope.MODEL: Sort(
        label="model",
        icon="box",
        rows=Model.objects.all,
        key="public_id",
        typed="public_id",
        page=lambda model: reverse("connection-model", args=[model.connection_id, model.pk]),
    ),
    Limit.Scope.CONNECTION: Sort(
        label="connection",
        icon="plug-connected",
        rows=Connection.objects.all,
        key="pk",
        typed="name",
        page=lambda connection: reverse("connection", args=[connection.pk]),
    ),
}
"""Of the scopes that name somebody or something."""


@dataclass(frozen=True, slots=True)
class Subject:
    name: str
    page: str
    """Its address; empty: it has none, or is gone."""
    gone: bool = False


def stored(scope: str, subject: str) -> str | None:
    """The subject as a limit holds it; None: there is none."""
    sort = SORTS[scope]
    try:
        row = sort.rows().filter(**{sort.key: subject}).first()
    except (ValueError, ValidationError):  # no number, no UUID
        return None
    return subject_of(sort, row) if row is not None else None


def picked(scope: str, text: str) -> str | None:
    """The subject that somebody picked or typed by its name; None: there is none."""
    sort = SORTS[scope]
    row = sort.rows().filter(**{sort.typed: text}).first()
    return subject_of(sort, row) if row is not None else None


def choices(scope: str) -> list[tuple[str, str]]:
    """What may be picked, by name; one more than `MOST` tells that there are too many for a list."""
    sort = SORTS[scope]
    return [(str(getattr(row, sort.typed)), sort.called(row)) for row in sort.rows().order_by(sort.typed)[: MOST + 1]]


def subject_of(sort: Sort, row: Row) -> str:
    return str(getattr(row, sort.key))


def named(limits: Iterable[Limit]) -> dict[tuple[str, str], Subject]:
    """Who or what these limits are about: one query per scope."""
    wanted: dict[str, set[str]] = {}
    for limit in limits:
        if limit.scope in SORTS:
            wanted.setdefault(limit.scope, set()).add(limit.subject)
    found = {(scope, subject): Subject(subject, "", gone=True) for scope in wanted for subject in wanted[scope]}
    for scope, subjects in wanted.items():
        sort = SORTS[scope]
        for row in sort.rows().filter(**{f"{sort.key}__in": subjects}):
            found[scope, subject_of(sort, row)] = Subject(sort.called(row), sort.page(row))
    return found


def name(limit: Limit) -> str:
    """ "One user: alice"."""
    label = limit.get_scope_display()
    return f"{label}: {named([limit])[limit.scope, limit.subject].name}" if limit.subject else label


def matching(text: str) -> Q:
    """Limits whose subject is called something like `text`."""
    found = Q(pk__in=())
    for scope, sort in SORTS.items():
        columns = [Q(**{f"{column}__icontains": text}) for column in (sort.typed, *sort.searched)]
        rows = sort.rows().filter(reduce(or_, columns))[:MOST]
        found |= Q(scope=scope, subject__in=[subject_of(sort, row) for row in rows])
    return found
