"""Whom or what a limit or a budget may be about: how a person picks it, how a row names it, where its page is."""

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
from gateway.models import Extent
from gateway.scopes import About

MOST = 500
"""Subjects that one search looks through, or one list offers."""


@dataclass(frozen=True, slots=True)
class Sort:
    """The subjects of one scope."""

    label: str
    icon: str
    rows: Callable[[], QuerySet[Any]]
    key: str
    """The column that stands in the limit or budget."""
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
    Extent.USER: Sort(
        label="user",
        icon="user",
        rows=User.objects.all,
        key="pk",
        typed="username",
        page=lambda user: reverse("user", args=[user.pk]),
    ),
    Extent.GROUP: Sort(
        label="group",
        icon="users-group",
        rows=Group.objects.all,
        key="pk",
        typed="name",
        page=lambda group: reverse("group", args=[group.pk]),
    ),
    Extent.KEY: Sort(
        label="API key",
        icon="key",
        rows=lambda: ApiKey.objects.filter(revoked_at=None).select_related("owner"),
        key="public_id",
        typed="public_id",
        searched=("name", "owner__username"),
        called=lambda key: f"{key.name} (mesh_{key.public_id}…) of {key.owner.username}",
        page=lambda key: f"{reverse('keys')}?q={key.public_id}",
    ),
    Extent.MODEL: Sort(
        label="model",
        icon="box",
        rows=Model.objects.all,
        key="public_id",
        typed="public_id",
        page=lambda model: reverse("connection-model", args=[model.connection_id, model.pk]),
    ),
    Extent.CONNECTION: Sort(
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
    """The subject as it is stored; None: there is none."""
    sort = SORTS[scope]
    try:
        row = sort.rows().filter(**{sort.key: subject}).first()
    except (ValueError, ValidationError):  # no number, no UUID
        return None
    return subject_of(sort, row) if row is not None else None


def checked(row: About) -> tuple[str | None, dict[str, list[str]]]:
    """The subject as the row is to hold it, or what is wrong with its scope or subject, by field."""
    if row.scope not in Extent:
        return None, {"scope": ["There is no such scope."]}
    if (row.scope in SORTS) != bool(row.subject):
        return None, {"subject": ["Leave this empty." if row.subject else "Say whom or what it is about."]}
    if row.subject and (found := stored(row.scope, row.subject)) is not None:
        return found, {}
    return ("", {}) if not row.subject else (None, {"subject": [f"There is no such {SORTS[row.scope].label}."]})


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


def named(rows: Iterable[About]) -> dict[tuple[str, str], Subject]:
    """Who or what these are about: one query per scope."""
    wanted: dict[str, set[str]] = {}
    for row in rows:
        if row.scope in SORTS:
            wanted.setdefault(row.scope, set()).add(row.subject)
    found = {(scope, subject): Subject(subject, "", gone=True) for scope in wanted for subject in wanted[scope]}
    for scope, subjects in wanted.items():
        sort = SORTS[scope]
        for one in sort.rows().filter(**{f"{sort.key}__in": subjects}):
            found[scope, subject_of(sort, one)] = Subject(sort.called(one), sort.page(one))
    return found


def name(row: About) -> str:
    """ "One user: alice"."""
    label = Extent(row.scope).label
    return f"{label}: {named([row])[row.scope, row.subject].name}" if row.subject else label


def matching(text: str) -> Q:
    """Limits or budgets whose subject is called something like `text`."""
    found = Q(pk__in=())
    for scope, sort in SORTS.items():
        columns = [Q(**{f"{column}__icontains": text}) for column in (sort.typed, *sort.searched)]
        rows = sort.rows().filter(reduce(or_, columns))[:MOST]
        found |= Q(scope=scope, subject__in=[subject_of(sort, row) for row in rows])
    return found
