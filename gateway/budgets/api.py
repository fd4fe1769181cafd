"""Budgets through `/api/`: what the pages can do, with the same rights."""

from typing import Any

from django.db.models import Model as Row
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter

from access.requests import KeyRequest
from access.strict import StrictSerializer
from gateway.budgets import acts
from gateway.budgets.filters import BudgetFilter
from gateway.budgets.shown import Shown, applying, listed, telling_of
from gateway.models import Budget, BudgetNotice, BudgetOverride, BudgetWindow
from gateway.subject_api import SubjectSerializer, SubjectViewSet

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


class BudgetSerializer(SubjectSerializer):
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

    @extend_schema_field(serializers.DateTimeField())
    def get_starts_at(self, budget: Budget) -> Any:
        return self.shown(budget).span.starts

    @extend_schema_field(serializers.DateTimeField())
    def get_ends_at(self, budget: Budget) -> Any:
        return self.shown(budget).span.ends

    def get_spent(self, budget: Budget) -> int | None:
        shown = self.shown(budget)
        return shown.spent if shown.known else None

    def get_reserved(self, budget: Budget) -> int | None:
        shown = self.shown(budget)
        return shown.reserved if shown.known else None

    def get_left(self, budget: Budget) -> int | None:
        shown = self.shown(budget)
        return shown.left if shown.known else None

    def get_unknown(self, budget: Budget) -> int:
        return self.shown(budget).unknown

    @extend_schema_field(OverrideSerializer(many=True))
    def get_overrides(self, budget: Budget) -> Any:
        return OverrideSerializer(self.shown(budget).overrides, many=True).data

    def shown(self, row: Row) -> Shown:
        found: Shown = super().shown(row)
        return found

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


@extend_schema_view(mine=extend_schema(responses=OwnBudgetSerializer(many=True)))
class BudgetViewSet(SubjectViewSet[Budget]):
    """How much users, keys, groups, models and connections may cost, or how many tokens they may use, per window."""

    queryset = Budget.objects.all()
    filterset_class = BudgetFilter
    serializer_class = BudgetSerializer
    change_serializer_class = BudgetChangeSerializer
    own_serializer_class = OwnBudgetSerializer
    listed, applying, remove = staticmethod(listed), staticmethod(applying), staticmethod(acts.remove_budget)

    @extend_schema(responses=WindowSerializer(many=True))
    @action(detail=True, filterset_class=None, queryset=Budget.objects.all())
    def windows(self, request: KeyRequest, pk: str) -> Response:
        """What was spent, window by window, newest first."""
        paginator: Any = self.paginator  # not our own step, which looks budgets up
        page = paginator.paginate_queryset(self.get_object().windows.order_by("-pk"), request, view=self)
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
