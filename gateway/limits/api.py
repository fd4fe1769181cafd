"""Limits through `/api/`: what the pages can do, with the same rights."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.routers import SimpleRouter

from gateway.limits import acts
from gateway.limits.filters import LimitFilter
from gateway.limits.shown import applying, listed
from gateway.models import PERIODS, Limit
from gateway.subject_api import SubjectSerializer, SubjectViewSet


class LimitSerializer(SubjectSerializer):
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

    def get_taken(self, limit: Limit) -> int | None:
        taken: int | None = self.shown(limit).taken
        return taken

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


@extend_schema_view(mine=extend_schema(responses=OwnLimitSerializer(many=True)))
class LimitViewSet(SubjectViewSet[Limit]):
    """How many requests, tokens and parallel calls users, keys, groups, models and connections may have."""

    queryset = Limit.objects.all()
    filterset_class = LimitFilter
    serializer_class = LimitSerializer
    change_serializer_class = LimitChangeSerializer
    own_serializer_class = OwnLimitSerializer
    listed, applying, remove = staticmethod(listed), staticmethod(applying), staticmethod(acts.remove_limit)


router = SimpleRouter()
router.register("limits", LimitViewSet, basename="api-limit")

urlpatterns = router.urls
