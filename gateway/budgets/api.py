"""Budgets through `/api/`: what the pages can do, with the same rights."""

from collections.abc import Mapping
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_field
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
from gateway.budgets import acts
from gateway.budgets.filters import BudgetFilter
from gateway.budgets.shown import Shown, applying, listed, telling_of
from gateway.models import Budget, BudgetNotice, BudgetOverride, BudgetWindow, Extent

UNIT = "10⁻⁹ USD, or tokens."


class OverrideSerializer(StrictSerializer):
    """More than the budget allows, until a moment and for a reason."""

    id = serializers.IntegerField(read_only=True)
    extra = serializers.IntegerField(default=None, allow_null=True, help_text=f"{UNIT} null: no end at all.")
    until = serializers.DateTimeField()
    reason = serializers.CharField(max_length=acts.MAX_REASON, help_text="It stands in the audit log.")
    made_by = serializers.CharField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)

    def create(self, validated: dict[str, Any]) -> BudgetOverride:
        return acts.override_budget(self.context["request"].user, self.context["budget"], **validated)


class WindowSerializer(serializers.ModelSerializer[BudgetWindow]):
    class Meta:
        model = BudgetWindow
        fields = ("id", "counted", "starts_at", "ends_at", "spent", "reserved", "unknown")
        read_only_fields = fields


class NoticeSerializer(serializers.ModelSerializer[BudgetNotice]):
    class Meta:
        model = BudgetNotice
        fields = ("id", "window", "threshold", "created_at", "mailed_at", "posted_at", "problem")
        read_only_fields = fields


class TellingSerializer(StrictSerializer):
    """Whom to tell at which percents. All of it is replaced."""

    thresholds = serializers.ListField(child=serializers.IntegerField(), help_text="Percent of the amount.")
    emails = serializers.ListField(child=serializers.CharField(max_length=254), default=list)
    url = serializers.CharField(default="", allow_blank=True, max_length=2048, help_text="Gets a signed POST.")
    secret = serializers.CharField(
        default="", allow_blank=True, write_only=True, help_text="Signs the messages; empty: the stored one stays."
    )
    notices = NoticeSerializer(many=True, read_only=True, help_text="The newest that were told.")


class BudgetSerializer(StrictSerializer):
    id = serializers.IntegerField(read_only=True)
    scope = serializers.ChoiceField(choices=Extent.choices)
    subject = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=300,
        help_text="Id of the user, group or connection, public id of the key or model; empty for the other scopes.",
    )
    name = serializers.SerializerMethodField(help_text="Whom or what it is about, as the pages say it.")
    what = serializers.ChoiceField(choices=Budget.What.choices)
    amount = serializers.IntegerField(help_text=UNIT)
    window = serializers.ChoiceField(choices=Budget.Window.choices)
    hours = serializers.IntegerField(default=0, help_text="Length of a window of one's own; 0 for the others.")
    anchor = serializers.DateTimeField(
        default=None, allow_null=True, help_text="A moment at which a window of one's own begins."
    )
    at_end = serializers.ChoiceField(choices=Budget.AtEnd.choices, default=Budget.AtEnd.STOP)
    switch_to = serializers.CharField(
        default="", allow_blank=True, max_length=300, help_text="Public id of a model, or name of a route."
    )
    enabled = serializers.BooleanField(read_only=True)
    starts_at = serializers.SerializerMethodField(help_text="Of the window of now.")
    ends_at = serializers.SerializerMethodField(help_text="When it starts anew.")
    spent = serializers.SerializerMethodField(help_text=f"{UNIT} null where each user or key has a sum of its own.")
    reserved = serializers.SerializerMethodField(help_text="Set aside for calls under way; null likewise.")
    left = serializers.SerializerMethodField(help_text="null likewise, and while an override lifts the end.")
    unknown = serializers.SerializerMethodField(help_text="Calls of this window whose cost is not known.")
    overrides = serializers.SerializerMethodField(help_text="Those in force.")
    created_at = serializers.DateTimeField(read_only=True)

    def get_name(self, budget: Budget) -> str:
        return self._shown(budget).name

    @extend_schema_field(serializers.DateTimeField())
    def get_starts_at(self, budget: Budget) -> Any:
        return self._shown(budget).span.starts

    @extend_schema_field(serializers.DateTimeField())
    def get_ends_at(self, budget: Budget) -> Any:
        return self._shown(budget).span.ends

    def get_spent(self, budget: Budget) -> int | None:
        shown = self._shown(budget)
        return shown.spent if shown.known else None

    def get_reserved(self, budget: Budget) -> int | None:
        shown = self._shown(budget)
        return shown.reserved if shown.known else None

    def get_left(self, budget: Budget) -> int | None:
        shown = self._shown(budget)
        return shown.left if shown.known else None

    def get_unknown(self, budget: Budget) -> int:
        return self._shown(budget).unknown

    @extend_schema_field(OverrideSerializer(many=True))
    def get_overrides(self, budget: Budget) -> Any:
        return OverrideSerializer(self._shown(budget).overrides, many=True).data

    def _shown(self, budget: Budget) -> Shown:
        """The viewset looks all rows of a list up at once."""
        known: dict[int, Shown] = self.context["shown"]
        if budget.pk not in known:
            known[budget.pk] = listed([budget])[0]
        return known[budget.pk]

    def create(self, validated: dict[str, Any]) -> Budget:
        return acts.add_budget(self.context["request"].user, **validated)


class BudgetChangeSerializer(BudgetSerializer):
    """Whom it is about, what it counts and its window stay; for others, add another."""

    scope = serializers.CharField(read_only=True)  # type: ignore[assignment] # narrower than in its parent
    subject = serializers.CharField(read_only=True)
    what = serializers.CharField(read_only=True)  # type: ignore[assignment] # narrower than in its parent
    window = serializers.CharField(read_only=True)  # type: ignore[assignment] # narrower than in its parent
    hours = serializers.IntegerField(read_only=True)
    anchor = serializers.DateTimeField(read_only=True, allow_null=True)
    enabled = serializers.BooleanField(required=False)

    def update(self, instance: Budget, validated: dict[str, Any]) -> Budget:
        self.context["shown"].pop(instance.pk, None)
        return acts.change_budget(self.context["request"].user, instance, **validated)


class OwnBudgetSerializer(serializers.Serializer[Any]):
    whose = serializers.CharField(help_text="“this key”, “you”, “group Analysts”, “model a/b”, “everybody together” …")
    what = serializers.CharField(source="budget.what")
    amount = serializers.IntegerField(source="budget.amount", help_text=UNIT)
    at_end = serializers.CharField(source="budget.at_end")
    starts_at = serializers.DateTimeField(source="span.starts")
    ends_at = serializers.DateTimeField(source="span.ends")
    spent = serializers.IntegerField()
    reserved = serializers.IntegerField()
    left = serializers.IntegerField(allow_null=True, help_text="null: there is no end at the moment.")


OwnBudgets = Allows(Permission.USE_MODELS, scope=Scope.READ)


class BudgetViewSet(viewsets.ModelViewSet[Budget]):
    """How much users, keys, groups, models and connections may cost, or how many tokens they may use, per window."""

    request: KeyRequest
    listed: Mapping[int, Shown] = {}
    permission_classes = [Allows(Permission.VIEW_USAGE, write=Permission.MANAGE_ACCESS)]
    queryset = Budget.objects.all()
    filterset_class = BudgetFilter
    http_method_names = API_METHODS

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return BudgetChangeSerializer if self.action == "partial_update" else BudgetSerializer

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        self.listed = {one.budget.pk: one for one in listed(page or [])}
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "shown": dict(self.listed)}

    def perform_destroy(self, instance: Budget) -> None:
        acts.remove_budget(self.request.user, instance)

    @extend_schema(responses=OwnBudgetSerializer(many=True))
    @action(detail=False, permission_classes=[OwnBudgets], filterset_class=None, pagination_class=None)
    def mine(self, request: KeyRequest) -> Response:
        """What calls with this very key count against."""
        rows = applying(request.auth, Model.objects.usable_by(request.auth))
        return Response(OwnBudgetSerializer(rows, many=True).data)

    @extend_schema(responses=WindowSerializer(many=True))
    @action(detail=True, filterset_class=None, queryset=Budget.objects.all())
    def windows(self, request: KeyRequest, pk: str) -> Response:
        """What was spent, window by window, newest first."""
        rows: Any = self.get_object().windows.order_by("-pk")
        page: Any = super().paginate_queryset(rows)
        return self.get_paginated_response(WindowSerializer(page, many=True).data)

    @extend_schema(methods=["get"], responses=TellingSerializer)
    @extend_schema(methods=["patch"], request=TellingSerializer, responses=TellingSerializer)
    @action(detail=True, methods=["get", "patch"], filterset_class=None, pagination_class=None)
    def telling(self, request: KeyRequest, pk: str) -> Response:
        """Who is told when the budget comes to its end."""
        budget = self.get_object()
        if request.method == "PATCH":
            given = TellingSerializer(data=request.data)
            given.is_valid(raise_exception=True)
            acts.tell_of_budget(request.user, budget, **given.validated_data)
            budget = self.get_object()
        return Response(TellingSerializer(telling_of(budget)).data)

    @extend_schema(request=OverrideSerializer, responses={201: OverrideSerializer})
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def override(self, request: KeyRequest, pk: str) -> Response:
        """Allow more until a moment."""
        given = OverrideSerializer(data=request.data, context={"request": request, "budget": self.get_object()})
        given.is_valid(raise_exception=True)
        given.save()
        return Response(given.data, status=201)

    @extend_schema(request=None, responses={204: None})
    @action(detail=True, methods=["delete"], url_path=r"overrides/(?P<override>\d+)", pagination_class=None)
    def revoke(self, request: KeyRequest, pk: str, override: str) -> Response:
        """End an override at once."""
        rows = BudgetOverride.objects.filter(budget=self.get_object())
        acts.revoke_override(request.user, get_object_or_404(rows, pk=override))
        return Response(status=204)


router = SimpleRouter()
router.register("budgets", BudgetViewSet, basename="api-budget")

urlpatterns = router.urls
