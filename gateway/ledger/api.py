"""`/api/usage/totals/`: what the page **Usage & cost** adds up."""

from datetime import timedelta
from typing import Any

from django.urls import path
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from access.permissions import Allows
from access.requests import KeyRequest
from access.roles import Permission, Scope
from access.strict import StrictSerializer
from gateway.ledger import sums

USUAL = timedelta(days=30)
NAMES = {"prompt": "prompt_tokens", "completion": "completion_tokens", "searches": "search_units", "spend": "cost"}
"""What the API calls figures, as it does in single calls."""


class TimeSerializer(StrictSerializer):
    since = serializers.DateTimeField(required=False, help_text="Calls from this moment on; default: 30 days ago.")
    until = serializers.DateTimeField(required=False, help_text="Calls before this moment; default: all.")
    by = serializers.ChoiceField(choices=["model", "connection", "principal"], default="model")


class UsageFiguresSerializer(serializers.Serializer[Any]):
    calls = serializers.IntegerField()
    failed = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField(allow_null=True, help_text="Null, as of the others: no call told any.")
    completion_tokens = serializers.IntegerField(allow_null=True)
    images = serializers.IntegerField(allow_null=True)
    search_units = serializers.IntegerField(allow_null=True)
    cost = serializers.IntegerField(allow_null=True, help_text="10⁻⁹ USD, of the calls whose cost is known.")
    unpriced = serializers.IntegerField(help_text="Answered calls whose cost is not known.")


class UsageGroupSerializer(UsageFiguresSerializer):
    name = serializers.CharField()


class UsageTotalsSerializer(serializers.Serializer[Any]):
    totals = UsageFiguresSerializer()
    groups = UsageGroupSerializer(many=True, help_text="Those with most calls first.")


class UsageTotals(APIView):
    """What one's own calls add up to, or everybody's for those who may see them."""

    permission_classes = (Allows(Permission.USE_MODELS, scope=Scope.READ) | Allows(Permission.VIEW_USAGE),)

    @extend_schema(parameters=[TimeSerializer], responses=UsageTotalsSerializer)
    def get(self, request: KeyRequest) -> Response:
        given = TimeSerializer(data=request.query_params.dict())
        given.is_valid(raise_exception=True)
        asked: dict[str, Any] = given.validated_data
        since = asked.get("since", timezone.now() - USUAL)
        found = sums.by_name(asked["by"], since, asked.get("until"), user=request.user)
        groups = sorted(found.items(), key=lambda group: (-group[1]["calls"], group[0]))
        return Response(
            {
                "totals": _named(sums.total(found.values())),
                "groups": [{"name": name, **_named(figures)} for name, figures in groups],
            }
        )


def _named(figures: dict[str, Any]) -> dict[str, Any]:
    return {NAMES.get(name, name): amount for name, amount in figures.items()}


urlpatterns = [path("usage/totals/", UsageTotals.as_view(), name="api-usage-totals")]
