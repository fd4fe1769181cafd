"""The "Test" button: stages that appear as they happen, or all at the end where nothing can stream."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import aget_object_or_404, render
from django.template.loader import render_to_string
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from access.permissions import requires
from access.requests import PageRequest
from access.roles import Permission
from access.streams import DONE, event_stream, message
from access.threads import in_thread
from connections import drafts, services, trials
from connections.health import Progress, Stage
from connections.models import Connection, Model
from connections.providers.calls import ModelInfo, Target
from connections.providers.contract import Provider
from connections.views import detail, wizard

TEMPLATE = "connections/_stages.html"


@requires(Permission.TEST_CONNECTIONS)
@require_POST
async def test_saved(request: PageRequest, pk: UUID) -> HttpResponse | StreamingHttpResponse:
    """Test a connection as it is stored; with `model`, one short call to that model too."""
    connection = await aget_object_or_404(Connection, pk=pk)
    model = await _chosen(connection, request.POST.get("model", ""))
    try:
        provider = await sync_to_async(services.provider_of)(connection)
    except services.Unusable as problem:
        return await _shown(request, connection, problem=str(problem))
    target = model.target if model else None
    stages = trials.stages(provider, connection.ca_certificate, target=target, connection=connection)
    if request.htmx:
        return event_stream(_messages(stages, _total(target)))
    return await _shown(request, connection, **stages_context(await trials.finished(stages), _total(target)))


async def _chosen(connection: Connection, model: str) -> Model | None:
    return await connection.models.filter(public_id=model).afirst() if model else None


@requires(Permission.MANAGE_CONNECTIONS)
@require_POST
@sensitive_post_parameters()
async def test_draft(request: PageRequest, kind: str) -> HttpResponse | StreamingHttpResponse:
    """Test what stands in the wizard's form, saved or not."""
    draft = await sync_to_async(drafts.load)(request.session, wizard.kind_or_404(kind))
    options, settings = await sync_to_async(wizard.forms_for)(draft, request.POST)
    if not await sync_to_async(wizard.keep_input)(request, draft, options, settings):
        return await sync_to_async(wizard.render_credentials)(request, draft, options, settings)
    model = request.POST.get("model", "").strip()
    target = _typed_target(draft.kind, model) if model else None
    stages = trials.stages(settings.account.provider(), options.cleaned_data["ca_certificate"], target=target)
    if request.htmx:
        return event_stream(_messages(stages, _total(target)))
    shown = stages_context(await trials.finished(stages), _total(target))
    return await sync_to_async(wizard.render_credentials)(request, draft, options, settings, trial_model=model, **shown)


def _typed_target(kind: type[Provider], model: str) -> Target:
    known = next((info for info in kind.catalogue if info.id == model), ModelInfo(model))
    return Target(known.id, known.mode)


@sync_to_async
def _shown(request: PageRequest, connection: Connection, **found: object) -> HttpResponse:
    if request.htmx:
        return render(request, "connections/_problem.html", found)
    return render(request, "connections/overview.html", detail.overview_context(connection, **found))


def _total(target: Target | None) -> int:
    return 4 if target else 3


def stages_context(stages: Sequence[Stage], total: int) -> dict[str, object]:
    done = sum(stage.state != Progress.RUNNING for stage in stages)
    return {"stages": stages, "done": done, "total": total}


async def _messages(stages: AsyncIterator[Stage], total: int) -> AsyncGenerator[bytes]:
    """The whole list of stages, drawn anew with each step."""
    seen: dict[str, Stage] = {}
    async for stage in stages:
        seen[stage.name] = stage
        yield message(await in_thread(render_to_string, TEMPLATE, stages_context(list(seen.values()), total)))
    yield DONE
