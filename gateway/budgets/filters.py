"""The filters that the page and `/api` offer; nothing else in a query reaches the database."""

import django_filters
from django.db.models import QuerySet

from access.filters import Flag
from gateway.models import Budget, Extent
from gateway.subjects import matching


class BudgetFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="named", label="Filter budgets", max_length=100)
    scope = django_filters.ChoiceFilter(choices=Extent, empty_label="Whomever")
    subject = django_filters.CharFilter(max_length=300)
    what = django_filters.ChoiceFilter(choices=Budget.What, empty_label="Money and tokens")
    window = django_filters.ChoiceFilter(choices=Budget.Window, empty_label="Whatever window")
    enabled = Flag()

    class Meta:
        model = Budget
        fields = ("q", "scope", "subject", "what", "window", "enabled")

    def named(self, rows: QuerySet[Budget], name: str, text: str) -> QuerySet[Budget]:
        return rows.filter(matching(text))
