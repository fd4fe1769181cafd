"""Asynchronous generations and usage, through `/api/`."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import django_filters
import msgspec
from adrf.views import APIView
from asgiref.sync import sync_to_async
from django.db import transaction
from django.shortcuts import get_object_or_404
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.response import Response

from access.filters import Whole
from access.permissions import Allows
from access.requests import KeyRequest
from access.roles import Permission, Scope
from connections.models import Model
from connections.providers import emulation
from connections.providers.calls import Mode
from gateway import bodies, jobs
from gateway.envelope import Problem
from gateway.models import Attempt, Job, Usage
from gateway.routes.reach import usable_targets
from gateway.tasks import run_job

LONGEST_WAIT = 60.0
"""Seconds that one request may wait for a job to end."""
LOOK_EVERY = 0.25

GenerationPermission = Allows(Permission.USE_MODELS, scope=Scope.GENERATE)


LISTED = (
    *("id", "mode", "model", "state", "progress", "error", "request_id", "cancel_requested"),
    *("created_at", "started_at", "finished_at", "deadline"),
)


class ListedJobSerializer(serializers.ModelSerializer[Job]):
    """Without its result, which can have megabytes."""

    class Meta:
        model = Job
        fields = LISTED
        read_only_fields = LISTED


class JobSerializer(serializers.ModelSerializer[Job]):
    class Meta:
        model = Job
        fields = (*LISTED, "result")
        read_only_fields = fields


class JobFilter(django_filters.FilterSet):
    class Meta:
        model = Job
        fields = ("state", "model", "mode")


class GenerationList(generics.ListAPIView[Job]):
    """One's own jobs, newest first and without their results; POST accepts a new one."""

    permission_classes = (GenerationPermission,)
    serializer_class = ListedJobSerializer
    filterset_class = JobFilter
    queryset = Job.objects.none()
    request: KeyRequest
    page_ordering = ("-created_at", "-id")

    def get_queryset(self) -> Any:
        return Job.objects.visible_to(self.request.auth).defer("request", "result")

    @extend_schema(request=OpenApiTypes.OBJECT, responses={202: JobSerializer})
    def post(self, request: KeyRequest) -> Response:
        """Accept a call in the shape of `/v1`. 202 means it will run.

        What is asked stands in `messages` (chats), `prompt` (completions, pictures), `input` (embeddings), or
        `query` and `documents` (reranking). A result of more than 16 MiB is not kept: the job fails then.
        """
        given: Any = request.data
        mode = _mode_of(given, _own_mode(given, request))
        body = bodies.read(msgspec.json.encode(given), mode)
        wanted = {name: value for name, value in given.items() if not name.startswith("stream")}
        with transaction.atomic():
            job = jobs.submit(request.user, request.auth.key_id, mode, body.model, wanted, run_job.delay)
        job.refresh_from_db()
        headers = {"Location": f"{request.path}{job.pk}/"}
        return Response(JobSerializer(job).data, status=202, headers=headers)


def _own_mode(body: Any, request: KeyRequest) -> Mode:
    """The mode of the model, or of the first target of the route, that is asked for."""
    name = body.get("model") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise Problem("invalid_value", "Send an object with a model and what is asked of it.", param="model")
    found = Model.objects.usable_by(request.auth).filter(public_id=name[:300]).first()
    found = found or usable_targets(name[:80], request.auth).first()
    if found is None:
        raise Problem.no_such_model()
    return Mode(found.mode)


def _mode_of(body: Mapping[str, Any], own: Mode) -> Mode:
    """What the fields ask for: the model's own mode if they fit, or one that the model can answer too."""
    mode: Mode
    for mode in (own, *Mode):
        if emulation.answers(mode, own) and all(name in body for name in bodies.CONTENT_OF[mode]):
            return mode
    fields = " and ".join(bodies.CONTENT_OF[own])
    raise Problem("invalid_value", f"This model is for {own}: send {fields}.", param=bodies.CONTENT_OF[own][0])


class GenerationDetail(APIView):
    """One job: GET it, waiting for its end with `?wait=seconds`; DELETE cancels it."""

    permission_classes = (GenerationPermission,)

    @extend_schema(
        parameters=[OpenApiParameter("wait", float, description=f"Seconds, at most {LONGEST_WAIT:g}.")],
        responses=JobSerializer,
    )
    async def get(self, request: KeyRequest, pk: str) -> Response:
        until = time.monotonic() + _seconds(request.query_params.get("wait", "0"))
        while True:
            job = await sync_to_async(self._find)(request, pk)
            if job.state in Job.TERMINAL or time.monotonic() >= until:
                return Response(JobSerializer(job).data)
            await asyncio.sleep(LOOK_EVERY)

    @extend_schema(responses=JobSerializer)
    async def delete(self, request: KeyRequest, pk: str) -> Response:
        job = await sync_to_async(self._find)(request, pk)
        await sync_to_async(jobs.cancel)(job)
        await job.arefresh_from_db()
        return Response(JobSerializer(job).data)

    def _find(self, request: KeyRequest, pk: str) -> Job:
        return get_object_or_404(Job.objects.visible_to(request.auth), pk=pk)


def _seconds(text: str) -> float:
    try:
        wanted = float(text)
    except ValueError as error:
        raise Problem("invalid_value", "wait must be a number of seconds.", param="wait") from error
    if not 0 <= wanted <= LONGEST_WAIT:
        raise Problem("invalid_value", f"wait must lie between 0 and {LONGEST_WAIT:g} seconds.", param="wait")
    return wanted


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    class Meta:
        model = Attempt
        exclude = ("id", "usage")


class UsageSerializer(serializers.ModelSerializer[Usage]):
    attempts = AttemptSerializer(
        many=True, read_only=True, help_text="The upstream calls, if it failed or took more than one."
    )

    class Meta:
        model = Usage
        exclude = ("id",)


class UsageFilter(django_filters.FilterSet):
    user_id = Whole()
    since = django_filters.IsoDateTimeFilter("at", "gte")
    until = django_filters.IsoDateTimeFilter("at", "lt")

    class Meta:
        model = Usage
        fields = ("request_id", "source", "mode", "state", "model", "key_id", "connection_id", "user_id")


class UsageList(generics.ListAPIView[Usage]):
    """The ledger, newest first: one's own calls, or everybody's for those who may see them."""

    permission_classes = (Allows(Permission.USE_MODELS, scope=Scope.READ) | Allows(Permission.VIEW_USAGE),)
    serializer_class = UsageSerializer
    filterset_class = UsageFilter
    queryset = Usage.objects.none()
    request: KeyRequest
    page_ordering = ("-at", "-id")

    def get_queryset(self) -> Any:
        return Usage.objects.visible_to(self.request.user).prefetch_related("attempts")


urlpatterns = [
    path("generations/", GenerationList.as_view(), name="api-generations"),
    path("generations/<uuid:pk>/", GenerationDetail.as_view(), name="api-generation"),
    path("usage/", UsageList.as_view(), name="api-usage"),
]
