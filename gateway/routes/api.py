"""Routes through `/api/`."""

from typing import Any

from django.db.models import Prefetch
from rest_framework import serializers, viewsets
from rest_framework.routers import SimpleRouter

from access.permissions import Allows
from access.requests import API_METHODS, KeyRequest
from access.roles import Permission
from access.strict import StrictSerializer
from gateway.models import Route, RouteTarget
from gateway.routes import acts


class TargetSerializer(StrictSerializer):
    model = serializers.CharField(max_length=300, source="model.public_id", help_text="Its public id.")
    weight = serializers.IntegerField(default=1, min_value=1, max_value=acts.MOST_WEIGHT)
    priority = serializers.IntegerField(default=1, min_value=1, max_value=acts.MOST_PRIORITY)


class RouteSerializer(StrictSerializer):
    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(max_length=80)
    strategy = serializers.ChoiceField(choices=Route.Strategy.choices, required=False)
    on_error = serializers.BooleanField(required=False, help_text="Ask the next target when one fails.")
    on_context = serializers.BooleanField(required=False, help_text="… when the prompt is too long for one.")
    on_filter = serializers.BooleanField(required=False, help_text="… when the content filter of one refuses.")
    enabled = serializers.BooleanField(required=False)
    targets = TargetSerializer(many=True)
    created_at = serializers.DateTimeField(read_only=True)

    def validate_targets(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A change of a route gives its new targets whole: what they leave out has its default here too."""
        if not all("model" in target for target in given):
            raise serializers.ValidationError("Each target names its model.")
        return [{"weight": 1, "priority": 1, **target, "model": target["model"]["public_id"]} for target in given]

    def create(self, validated: dict[str, Any]) -> Route:
        return acts.create_route(self.context["request"].user, **validated)

    def update(self, route: Route, validated: dict[str, Any]) -> Route:
        return acts.update_route(self.context["request"].user, route.pk, **validated)


class RouteViewSet(viewsets.ModelViewSet[Route]):
    """Names of one's own for several models. PATCH with `targets` replaces all of them."""

    permission_classes = [Allows(Permission.VIEW_CONNECTIONS, write=Permission.MANAGE_CONNECTIONS)]
    queryset = Route.objects.prefetch_related(Prefetch("targets", RouteTarget.objects.select_related("model")))
    serializer_class = RouteSerializer
    http_method_names = API_METHODS
    request: KeyRequest

    def perform_destroy(self, instance: Route) -> None:
        acts.delete_route(self.request.user, instance)


router = SimpleRouter()
router.register("routes", RouteViewSet, basename="api-route")
urlpatterns = router.urls
