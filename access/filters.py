"""The fixed sets of filters that pages and API offer; nothing else in a query reaches the database."""

from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from django.forms import DateTimeInput, IntegerField
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from access.models import ApiKey, AuditEvent, User
from access.roles import Role


@extend_schema_field(OpenApiTypes.BOOL)
class Flag(django_filters.TypedChoiceFilter):
    """True or false; a boolean filter by itself takes everything else for neither."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        choices = [("true", "yes"), ("false", "no")]
        super().__init__(*arguments, choices=choices, coerce="true".__eq__, **options)


class Whole(django_filters.NumberFilter):
    """A number without a fraction."""

    field_class = IntegerField


class UserFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="named", label="Filter users")
    role = django_filters.ChoiceFilter(choices=Role)
    is_active = Flag()

    class Meta:
        model = User
        fields = ("q", "role", "is_active")

    def named(self, rows: QuerySet[User], name: str, text: str) -> QuerySet[User]:
        return rows.filter(Q(username__icontains=text) | Q(email__icontains=text))


class KeyFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="named", label="Filter keys")
    owner = django_filters.CharFilter("owner__username")

    class Meta:
        model = ApiKey
        fields = ("q", "owner")

    def named(self, rows: QuerySet[ApiKey], name: str, text: str) -> QuerySet[ApiKey]:
        return rows.filter(Q(name__icontains=text) | Q(public_id=text) | Q(owner__username__icontains=text))


def moment() -> DateTimeInput:
    return DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


class AuditFilter(django_filters.FilterSet):
    actor = django_filters.CharFilter("actor_label", "icontains", label="Who")
    action = django_filters.CharFilter("action", "istartswith", label="Did what")
    object = django_filters.CharFilter("object_label", "icontains", label="To what")
    since = django_filters.IsoDateTimeFilter("at", "gte", label="From (UTC)", widget=moment())
    until = django_filters.IsoDateTimeFilter("at", "lt", label="To (UTC)", widget=moment())

    class Meta:
        model = AuditEvent
        fields = ("actor", "action", "object", "since", "until")
