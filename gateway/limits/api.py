"""Limits through `/api/`: what the pages can do, with the same rights."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.serializers import BaseSerializer

from access.permissions import Allows
from access.requests import API_METHODS, KeyRequest
from access.roles import Permission, Scope
from access.strict import StrictSerializer
from connections.models import Model
from gateway.limits import acts
from gateway.limits.filters import LimitFilter
from gateway.limits.shown import Shown, applying, listed
from gateway.models import PERIODS, Extent, Limit


class LimitSerializer(StrictSerializer):
    id = serializers.IntegerField(read_only=True)
    scope = serializers.ChoiceField(choices=Extent.choices)
    subject = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=300,
        help_text="Id of the user, group or connection, public id of the key or model; empty for the other scopes.",
    )
    name = serializers.SerializerMethodField(help_text="Whom or what it is about, as the pages say it.")
    what = serializers.ChoiceField(choices=Limit.What.choices)
    amount = serializers.IntegerField()
    seconds = serializers.IntegerField(
        default=None,
        allow_null=True,
        help_text=f"In which the amount is given anew: {', '.join(map(str, PERIODS))}. 0 for parallel calls.",
    )
    enabled = serializers.BooleanField(read_only=True)
    taken = serializers.SerializerMethodField(
        help_text="How much of it is taken now; null where each user or key has its own, or Valkey does not answer."
    )
    created_at = serializers.DateTimeField(read_only=True)

    def get_name(self, limit: Limit) -> str:
        return self._shown(limit).name

    def get_taken(self, limit: Limit) -> int | None:
        return self._shown(limit).taken

    def _shown(self, limit: Limit) -> Shown:
        """The viewset looks all rows of a list up at once."""
        known: Mapping[int, Shown] = self.context["shown"]
        return known[limit.pk] if limit.pk in known else listed([limit])[0]

    def create(self, validated: dict[str, Any]) -> Limit:
        return acts.add_limit(self.context["request"].user, **validated)


class LimitChangeSerializer(LimitSerializer):
    """Whom it is about and what it counts stays; for another one, add another."""

    scope = serializers.CharField(read_only=True)  # type: ignore[assignment] # narrower than in its parent
    subject = serializers.CharField(read_only=True)
    what = serializers.CharField(read_only=True)  # type: ignore[assignment] # narrower than in its parent
    seconds = serializers.IntegerField(read_only=True)
    enabled = serializers.BooleanField(required=False)

    def update(self, instance: Limit, validated: dict[str, Any]) -> Limit:
        return acts.change_limit(self.context["request"].user, instance, **validated)


class OwnLimitSerializer(serializers.Serializer[Any]):
    whose = serializers.CharField(help_text="“this key”, “you”, “group Analysts”, “model a/b”, “everybody together” …")
    what = serializers.CharField(source="limit.what")
    amount = serializers.IntegerField(source="limit.amount")
    seconds = serializers.IntegerField(source="limit.seconds")
    taken = serializers.IntegerField(allow_null=True, help_text="How much of it is taken now; null: not known.")


OwnLimits = Allows(Permission.USE_MODELS, scope=Scope.READ)


class LimitViewSet(viewsets.ModelViewSet[Limit]):
    """How many requests, tokens and parallel calls users, keys, groups, models and connections may have."""

    request: KeyRequest
    listed: Mapping[int, Shown] = {}
    permission_classes = [Allows(Permission.VIEW_USAGE, write=Permission.MANAGE_ACCESS)]
    queryset = Limit.objects.all()
    filterset_class = LimitFilter
    http_method_names = API_METHODS

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return LimitChangeSerializer if self.action == "partial_update" else LimitSerializer

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        self.listed = {one.limit.pk: one for one in listed(page or [])}
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "shown": self.listed}

    @extend_schema(responses=OwnLimitSerializer(many=True))
    @action(detail=False, permission_classes=[OwnLimits], filterset_class=None, pagination_class=None)
    def mine(self, request: KeyRequest) -> Response:
        """What calls with this very key have to pass."""
        rows = applying(request.auth, Model.objects.usable_by(request.auth))
        return Response(OwnLimitSerializer(rows, many=True).data)

    def perform_destroy(self, instance: Limit) -> None:
        acts.remove_limit(self.request.user, instance)


router = SimpleRouter()
router.register("limits", LimitViewSet, basename="api-limit")

urlpatterns = router.urls
