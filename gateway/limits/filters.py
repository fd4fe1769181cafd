"""The filters that the page and `/api` offer; nothing else in a query reaches the database."""

import django_filters
from django.db.models import QuerySet

from access.filters import Flag
from gateway.models import Extent, Limit
from gateway.subjects import matching


class LimitFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="named", label="Filter limits", max_length=100)
    scope = django_filters.ChoiceFilter(choices=Extent, empty_label="Whomever")
    subject = django_filters.CharFilter(max_length=300)
    what = django_filters.ChoiceFilter(choices=Limit.What, empty_label="Whatever is counted")
    enabled = Flag()

    class Meta:
        model = Limit
        fields = ("q", "scope", "subject", "what", "enabled")

    def named(self, rows: QuerySet[Limit], name: str, text: str) -> QuerySet[Limit]:
        return rows.filter(matching(text))
