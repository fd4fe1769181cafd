"""The viewsets. Whatever changes something goes through `access.services`."""

from typing import Any

from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from access import services
from access.api.serializers import (
    AuditSerializer,
    GroupSerializer,
    KeySerializer,
    MemberSerializer,
    NewKeySerializer,
    NewUserSerializer,
    PasswordSerializer,
    UserChangeSerializer,
    UserSerializer,
)
from access.filters import AuditFilter, KeyFilter, UserFilter
from access.models import ApiKey, AuditEvent, User
from access.permissions import Allows
from access.requests import API_METHODS, KeyRequest
from access.roles import Permission

ManagesAccess = Allows(Permission.MANAGE_ACCESS)
ONCE = {"Cache-Control": "no-store"}
"""On answers whose secret nothing can show again."""


class UserViewSet(mixins.UpdateModelMixin, viewsets.ReadOnlyModelViewSet[User]):
    """Accounts. They are disabled, not deleted: the audit log and the ledger name them."""

    permission_classes = [ManagesAccess]
    queryset = User.objects.prefetch_related("groups")
    filterset_class = UserFilter
    http_method_names = API_METHODS

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return UserChangeSerializer if self.action == "partial_update" else UserSerializer

    @extend_schema(request=UserSerializer, responses={201: NewUserSerializer})
    def create(self, request: KeyRequest) -> Response:
        given = UserSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        user, password = services.create_user(request.user, **given.validated_data)
        return Response({**UserSerializer(user).data, "temporary_password": password}, status=201, headers=ONCE)

    @extend_schema(request=None, responses=PasswordSerializer)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def password(self, request: KeyRequest, pk: str) -> Response:
        """Set a new temporary password and end the user's sessions."""
        password = services.set_temporary_password(request.user, self.get_object())
        return Response({"temporary_password": password}, headers=ONCE)


class GroupViewSet(viewsets.ModelViewSet[Group]):
    permission_classes = [ManagesAccess]
    queryset = Group.objects.prefetch_related("user_set")
    serializer_class = GroupSerializer
    http_method_names = API_METHODS
    request: KeyRequest

    def perform_destroy(self, instance: Group) -> None:
        services.delete_group(self.request.user, instance)

    @extend_schema(request=MemberSerializer, responses=GroupSerializer)
    @action(detail=True, methods=["post"])
    def members(self, request: KeyRequest, pk: str) -> Response:
        """Add one user."""
        given = MemberSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        services.add_member(request.user, self.get_object(), given.validated_data["username"])
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(responses={204: None})
    @action(detail=True, methods=["delete"], url_path="members/(?P<username>[^/]+)")
    def member(self, request: KeyRequest, pk: str, username: str) -> Response:
        """Take one user out."""
        services.remove_member(request.user, self.get_object(), get_object_or_404(User, username=username))
        return Response(status=204)


class KeyViewSet(mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet[ApiKey]):
    """One's own keys; everybody's for those who manage access. DELETE revokes: the row stays."""

    permission_classes = [Allows(Permission.MANAGE_OWN_KEYS)]
    queryset = ApiKey.objects.none()
    serializer_class = KeySerializer
    filterset_class = KeyFilter
    lookup_field = "public_id"
    http_method_names = API_METHODS
    request: KeyRequest

    def get_queryset(self) -> QuerySet[ApiKey]:
        if getattr(self, "swagger_fake_view", False):
            return ApiKey.objects.none()
        return ApiKey.objects.visible_to(self.request.user).select_related("owner")

    @extend_schema(request=KeySerializer, responses={201: NewKeySerializer})
    def create(self, request: KeyRequest) -> Response:
        given = KeySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = {"owner": request.user, **given.validated_data}
        row, key = services.issue_key(request.user, asked_by=request.auth, **wanted)
        return Response({**KeySerializer(row).data, "key": key}, status=201, headers=ONCE)

    def perform_destroy(self, instance: ApiKey) -> None:
        services.revoke_key(self.request.user, instance)


class AuditViewSet(viewsets.ReadOnlyModelViewSet[AuditEvent]):
    permission_classes = [Allows(Permission.VIEW_AUDIT)]
    queryset = AuditEvent.objects.all()
    serializer_class = AuditSerializer
    filterset_class = AuditFilter
