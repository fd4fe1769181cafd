"""What limits and budgets have alike in `/api/`: whom they are about, who may do what, how rows are looked up."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from django.db.models import Model as Row
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from access.models import User
from access.permissions import Allows
from access.principal import Principal
from access.requests import API_METHODS, KeyRequest
from access.roles import Permission, Scope
from access.strict import StrictSerializer
from connections.models import Model
from gateway.models import Extent

T = TypeVar("T", bound=Row)
Own = Allows(Permission.USE_MODELS, scope=Scope.READ)


class SubjectSerializer(StrictSerializer):
    """One row; `shown` looks up what the row itself does not hold."""

    id = serializers.IntegerField(read_only=True)
    scope = serializers.ChoiceField(choices=Extent.choices)
    subject = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=300,
        help_text="Id of the user, group or connection, public id of the key or model; empty for the other scopes.",
    )
    name = serializers.SerializerMethodField(help_text="Whom or what it is about, as the pages say it.")

    def get_name(self, row: Row) -> str:
        name: str = self.shown(row).name
        return name

    def shown(self, row: Row) -> Any:
        """The rows of a list were looked up at once."""
        known = self.context["shown"]
        if row.pk not in known:
            (known[row.pk],) = self.context["view"].listed([row])
        return known[row.pk]


class SubjectViewSet(viewsets.ModelViewSet[T]):
    request: KeyRequest
    shown: dict[int, Any] = {}
    permission_classes = [Allows(Permission.VIEW_USAGE, write=Permission.MANAGE_ACCESS)]
    http_method_names = API_METHODS
    change_serializer_class: type[BaseSerializer[Any]]
    own_serializer_class: type[BaseSerializer[Any]]
    listed: Callable[[Sequence[Any]], list[Any]]
    applying: Callable[[Principal, Iterable[Model]], list[Any]]
    remove: Callable[[User, Any], None]

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return self.change_serializer_class if self.action == "partial_update" else super().get_serializer_class()

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset) or []
        self.shown = {row.pk: one for row, one in zip(page, self.listed(page), strict=True)}
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "shown": dict(self.shown)}

    def perform_destroy(self, instance: T) -> None:
        self.remove(self.request.user, instance)

    @action(detail=False, permission_classes=[Own], filterset_class=None, pagination_class=None)
    def mine(self, request: KeyRequest) -> Response:
        """What calls with this very key have to pass or count against."""
        rows = self.applying(request.auth, Model.objects.usable_by(request.auth))
        return Response(self.own_serializer_class(rows, many=True).data)
