"""The fixed sets of filters that `/api` offers; nothing else in a query reaches the database."""

from django_filters import rest_framework as filters

from access.filters import Flag, Whole
from connections.models import MODES, Connection, Grant, Model, Price, State


class ConnectionFilter(filters.FilterSet):
    kind = filters.CharFilter()
    paused = Flag()
    state = filters.ChoiceFilter(choices=[choice for choice in State.choices if choice[0] != State.PAUSED])
    name = filters.CharFilter(lookup_expr="icontains", max_length=80)

    class Meta:
        model = Connection
        fields = ("kind", "paused", "state", "name")


class ModelFilter(filters.FilterSet):
    connection = filters.UUIDFilter(field_name="connection_id")
    mode = filters.ChoiceFilter(choices=MODES)
    enabled = Flag()
    public_id = filters.CharFilter(lookup_expr="icontains", max_length=300)

    class Meta:
        model = Model
        fields = ("connection", "mode", "enabled", "public_id")


class PriceFilter(filters.FilterSet):
    model = filters.UUIDFilter(field_name="model_id")
    connection = filters.UUIDFilter(field_name="model__connection_id")

    class Meta:
        model = Price
        fields = ("model", "connection")


class GrantFilter(filters.FilterSet):
    connection = filters.UUIDFilter(field_name="connection_id")
    model = filters.UUIDFilter(field_name="model_id")
    group = Whole(field_name="group_id")

    class Meta:
        model = Grant
        fields = ("connection", "model", "group")
