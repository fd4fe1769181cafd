"""`/api/explain/`."""

import json
from typing import Any

from adrf.views import APIView
from asgiref.sync import sync_to_async
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response

from access.authentication import narrowed
from access.models import ApiKey, User
from access.permissions import Allows
from access.principal import Principal
from access.requests import KeyRequest
from access.roles import Permission, Scope
from access.strict import StrictSerializer
from connections.providers.calls import Mode
from gateway.explain.steps import explain
from gateway.pipeline import engine


class QuestionSerializer(StrictSerializer):
    body = serializers.DictField(help_text="What would be sent to /v1, `model` included.")
    mode = serializers.ChoiceField(choices=[(mode, mode) for mode in Mode], default=Mode.CHAT)
    user = serializers.CharField(required=False, max_length=150, help_text="A user name. Admins only.")
    key = serializers.CharField(required=False, max_length=10, help_text="The public id of a key. Admins only.")


class Explain(APIView):
    """What would happen if you, or for admins any user or key, sent this. Nothing is sent, counted or written."""

    permission_classes = (Allows(Permission.USE_MODELS, scope=Scope.READ) | Allows(Permission.MANAGE_ACCESS),)

    @extend_schema(request=QuestionSerializer, responses=OpenApiTypes.OBJECT)
    async def post(self, request: KeyRequest) -> Response:
        given = QuestionSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        asked: dict[str, Any] = given.validated_data
        principal = await sync_to_async(_principal)(request, asked)
        body = json.dumps(asked["body"]).encode()
        found = await explain(await engine(), principal, Mode(asked["mode"]), body, whole=_sees_all(request))
        return Response(found)


def _sees_all(request: KeyRequest) -> bool:
    return request.user.may(Permission.MANAGE_ACCESS) and Scope.MANAGE in request.auth.scopes


def _principal(request: KeyRequest, asked: dict[str, Any]) -> Principal:
    """On whose behalf. Raises PermissionDenied and ValidationError."""
    if "user" not in asked and "key" not in asked:
        return request.auth
    if not _sees_all(request):
        raise PermissionDenied("Only who manages access may ask about others.")
    if "key" in asked:
        key = ApiKey.objects.live().select_related("owner").filter(public_id=asked["key"]).first()
        if key is None:
            raise serializers.ValidationError({"key": ["There is no such key, or it is not valid any more."]})
        return narrowed(key.owner.principal, key)
    user = User.objects.filter(username=asked["user"]).first()
    if user is None:
        raise serializers.ValidationError({"user": ["There is no such user."]})
    return user.principal


urlpatterns = [path("explain/", Explain.as_view(), name="api-explain")]
