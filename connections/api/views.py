"""The viewsets. Whatever changes something goes through `connections.services`."""

from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, NotFound
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from access.permissions import Allows
from access.requests import API_METHODS, KeyRequest
from access.roles import Permission
from connections import runtime, services, trials
from connections.api.engines import EngineSerializer, without_log
from connections.api.filters import ConnectionFilter, GrantFilter, ModelFilter, PriceFilter
from connections.api.serializers import (
    CheckSerializer,
    ConflictError,
    ConnectionChangeSerializer,
    ConnectionSerializer,
    GrantSerializer,
    HealthSerializer,
    ModelChangeSerializer,
    ModelInfoSerializer,
    ModelSerializer,
    PriceSerializer,
    ProviderSerializer,
    RotationSerializer,
    StageSerializer,
    TrialSerializer,
)
from connections.models import Connection, Engine, Grant, HealthCheck, Model, Price, State
from connections.providers import registry
from connections.providers.calls import Target
from connections.providers.contract import Provider
from connections.providers.errors import ProviderError

Reads = Allows(Permission.VIEW_CONNECTIONS, write=Permission.MANAGE_CONNECTIONS)
Tests = Allows(Permission.TEST_CONNECTIONS)
Manages = Allows(Permission.MANAGE_CONNECTIONS)


class Failed(APIException):
    """The provider did not do what was asked."""

    status_code = 502
    default_code = "upstream_error"


def described(kind: type[Provider]) -> dict[str, Any]:
    return {
        "kind": kind.kind,
        "label": kind.label,
        "summary": kind.summary,
        "docs_url": kind.docs_url,
        "group": kind.group,
        "retired": asdict(kind.retired) if kind.retired else None,
        "modes": sorted(kind.modes),
        "settings_schema": kind.Settings.model_json_schema(),
        "model_options_schema": kind.ModelOptions.model_json_schema(),
        "secrets": kind.Settings.secret_names(),
        "catalogue": [{**asdict(info), "capabilities": sorted(info.capabilities)} for info in kind.catalogue],
    }


class ProviderViewSet(viewsets.ViewSet):
    """The systems that a connection can be made to, each with the schema of its settings."""

    permission_classes = [Reads]
    lookup_field = "kind"
    lookup_value_regex = "[a-z0-9_-]+"

    @extend_schema(responses=ProviderSerializer(many=True))
    def list(self, request: KeyRequest) -> Response:
        return Response(ProviderSerializer([described(kind) for kind in registry.providers().values()], many=True).data)

    @extend_schema(responses=ProviderSerializer)
    def retrieve(self, request: KeyRequest, kind: str) -> Response:
        found = registry.providers().get(kind)
        if found is None:
            raise NotFound
        return Response(ProviderSerializer(described(found)).data)


class ConnectionViewSet(viewsets.ModelViewSet[Connection]):
    request: KeyRequest
    permission_classes = [Reads]
    serializer_class = ConnectionSerializer
    filterset_class = ConnectionFilter
    http_method_names = API_METHODS

    def get_queryset(self) -> QuerySet[Connection]:
        if getattr(self, "swagger_fake_view", False):
            return Connection.objects.none()
        return Connection.objects.visible_to(self.request.user)

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return ConnectionChangeSerializer if self.action == "partial_update" else ConnectionSerializer

    def perform_destroy(self, instance: Connection) -> None:
        try:
            services.delete_connection(self.request.user, instance)
        except services.InUse as error:
            raise ConflictError(str(error)) from None

    @extend_schema(request=None, responses=ConnectionSerializer)
    @action(detail=True, methods=["post"], permission_classes=[Tests])
    def pause(self, request: KeyRequest, pk: str) -> Response:
        return self._shown(services.set_paused(request.user, self.get_object(), True))

    @extend_schema(request=None, responses=ConnectionSerializer)
    @action(detail=True, methods=["post"], permission_classes=[Tests])
    def resume(self, request: KeyRequest, pk: str) -> Response:
        return self._shown(services.set_paused(request.user, self.get_object(), False))

    @extend_schema(request=RotationSerializer, responses=ConnectionSerializer)
    @action(detail=True, methods=["post"], permission_classes=[Manages])
    def rotate(self, request: KeyRequest, pk: str) -> Response:
        """Replace secrets; nothing else changes."""
        given = RotationSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        change = ConnectionChangeSerializer(
            self.get_object(), data=given.validated_data, partial=True, context=self.get_serializer_context()
        )
        change.is_valid(raise_exception=True)
        return self._shown(change.save())

    @extend_schema(request=TrialSerializer, responses=StageSerializer(many=True))
    @action(detail=True, methods=["post"], permission_classes=[Tests], filterset_class=None, pagination_class=None)
    def test(self, request: KeyRequest, pk: str) -> Response:
        """Try address, key and model list; with `model`, one short call too, which the provider bills."""
        connection = self.get_object()
        given = TrialSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        target = _target(connection, given.validated_data["model"])
        provider = _provider(connection)
        stages = trials.stages(provider, connection.ca_certificate, target=target, connection=connection)
        return Response(StageSerializer(runtime.run(trials.finished(stages)), many=True).data)

    @extend_schema(request=None, responses=ModelInfoSerializer(many=True))
    @action(detail=True, methods=["post"], permission_classes=[Manages], filterset_class=None, pagination_class=None)
    def discover(self, request: KeyRequest, pk: str) -> Response:
        """The models that the provider offers to this account."""
        connection = self.get_object()
        try:
            found = runtime.run(trials.models_at(_provider(connection), connection.ca_certificate))
        except ProviderError as error:
            raise Failed(error.message) from None
        return Response(ModelInfoSerializer(found, many=True).data)

    @extend_schema(responses=EngineSerializer)
    @action(detail=True, methods=["get"], filterset_class=None, pagination_class=None)
    def engine(self, request: KeyRequest, pk: str) -> Response:
        """How the engine of this connection fares."""
        return self._engine(_with_engine(self.get_object()))

    @extend_schema(request=None, responses=EngineSerializer)
    @action(detail=True, methods=["post"], permission_classes=[Tests], url_path="engine/start")
    def start_engine(self, request: KeyRequest, pk: str) -> Response:
        """Start it within seconds, also if it was given up."""
        return self._want_engine(request, True)

    @extend_schema(request=None, responses=EngineSerializer)
    @action(detail=True, methods=["post"], permission_classes=[Tests], url_path="engine/stop")
    def stop_engine(self, request: KeyRequest, pk: str) -> Response:
        """Stop it, which frees its memory."""
        return self._want_engine(request, False)

    def _want_engine(self, request: KeyRequest, wanted: bool) -> Response:
        connection = _with_engine(self.get_object())
        services.want_engine(request.user, connection, wanted)
        return self._engine(connection)

    def _engine(self, connection: Connection) -> Response:
        row = Engine.objects.filter(pk=connection.pk).first() or Engine(connection=connection)
        shown = row if Tests().has_permission(self.request, self) else without_log(row)
        return Response(EngineSerializer(shown).data)

    @extend_schema(responses=CheckSerializer(many=True))
    @action(detail=True, methods=["get"], filterset_class=None)
    def checks(self, request: KeyRequest, pk: str) -> Response:
        """What the last checks found, the newest first."""
        rows: Any = HealthCheck.objects.filter(connection=self.get_object())  # not the viewset's own model
        page: Any = self.paginate_queryset(rows)
        return self.get_paginated_response(CheckSerializer(page, many=True, context=self.get_serializer_context()).data)

    def _shown(self, connection: Connection) -> Response:
        return Response(ConnectionSerializer(connection, context=self.get_serializer_context()).data)


def _provider(connection: Connection) -> Provider:
    try:
        return services.provider_of(connection)
    except services.Unusable as error:
        raise ConflictError(str(error)) from None


def _with_engine(connection: Connection) -> Connection:
    if not connection.provider_class.engine:
        raise NotFound("This connection has no engine.")
    return connection


def _target(connection: Connection, public_id: str) -> Target | None:
    if not public_id:
        return None
    model = connection.models.filter(public_id=public_id).first()
    if model is None:
        raise NotFound("The connection has no such model.")
    return model.target


class ListsModels(BasePermission):
    """Whoever may use models or see connections; what they see is the queryset's matter."""

    declared = (Permission.USE_MODELS, Permission.MANAGE_CONNECTIONS)
    ways = (Reads, Allows(Permission.USE_MODELS, write=Permission.MANAGE_CONNECTIONS))

    def has_permission(self, request: Request, view: Any) -> bool:
        return any(way().has_permission(request, view) for way in self.ways)


class ModelViewSet(viewsets.ModelViewSet[Model]):
    """The allowed models. Who may not see connections sees only those they may use."""

    request: KeyRequest
    permission_classes = [ListsModels]
    serializer_class = ModelSerializer
    filterset_class = ModelFilter
    http_method_names = API_METHODS

    def get_queryset(self) -> QuerySet[Model]:
        if getattr(self, "swagger_fake_view", False):
            return Model.objects.none()
        rows = Model.objects.select_related("connection")
        if self.request.user.may(Permission.VIEW_CONNECTIONS):
            return rows
        return rows.usable_by(self.request.auth)

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return ModelChangeSerializer if self.action == "partial_update" else ModelSerializer

    def perform_destroy(self, instance: Model) -> None:
        services.remove_model(self.request.user, instance)


class PriceViewSet(
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    mixins.ListModelMixin,
    viewsets.GenericViewSet[Price],
):
    """Prices that admins set for models, with their periods. DELETE ends one that holds and drops one to come."""

    request: KeyRequest
    permission_classes = [Reads]
    queryset = Price.objects.select_related("model")
    serializer_class = PriceSerializer
    filterset_class = PriceFilter

    def perform_destroy(self, instance: Price) -> None:
        try:
            services.end_price(self.request.user, instance)
        except ValidationError as error:
            raise serializers.ValidationError({"id": error.messages}) from None


class GrantViewSet(
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    mixins.ListModelMixin,
    viewsets.GenericViewSet[Grant],
):
    """Which groups may use which connections, or single models of them."""

    request: KeyRequest
    permission_classes = [Reads]
    queryset = Grant.objects.select_related("group", "connection", "model")
    serializer_class = GrantSerializer
    filterset_class = GrantFilter

    def perform_destroy(self, instance: Grant) -> None:
        services.revoke(self.request.user, instance)


class HealthView(APIView):
    """How all connections fare, in one answer."""

    permission_classes = [Reads]

    @extend_schema(responses=HealthSerializer)
    def get(self, request: KeyRequest) -> Response:
        rows = list(Connection.objects.visible_to(request.user))
        active = [row for row in rows if not row.paused]
        healthy = sum(row.state == State.HEALTHY for row in active)
        return Response(HealthSerializer({"healthy": healthy, "active": len(active), "connections": rows}).data)
