"""The tabs beside the chat: pictures, embeddings, reranking. Each asks once and shows what came."""

from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST

from access.permissions import requires
from access.requests import PageRequest
from access.roles import Permission
from access.threads import released
from playground.attempt_forms import AttemptForm, EmbeddingForm, ImageForm, RerankForm
from playground.attempts import Attempt, attempt

TABS: Mapping[str, type[AttemptForm]] = {"images": ImageForm, "embeddings": EmbeddingForm, "rerank": RerankForm}
TITLES = {"images": "Images", "embeddings": "Embeddings", "rerank": "Rerank"}


@requires(Permission.USE_MODELS)
@require_http_methods(["GET", "HEAD", "POST"])
async def tab(request: PageRequest, name: str) -> HttpResponse:
    """The form, with a model from the address if that names one; a POST asks."""
    form = await sync_to_async(released(_form))(request, name)
    if not form.is_valid():
        return await _shown(request, "asking", name, form, status=422 if form.errors else 200)
    principal = await sync_to_async(released(lambda: request.user.principal))()
    return await _shown(request, "outcome", name, form, await attempt(principal, form.mode, form.body))


@requires(Permission.USE_MODELS)
@require_POST
async def change_model(request: PageRequest, name: str) -> HttpResponse:
    """The form again, with another model's parameters; nothing is asked."""
    form = await sync_to_async(released(_tab))(name, user=request.user, initial=request.POST.dict())
    return await _shown(request, "asking", name, form)


def _form(request: PageRequest, name: str) -> AttemptForm:
    if request.method == "POST":
        return _tab(name, request.POST, user=request.user)
    return _tab(name, user=request.user, initial=request.GET.dict())


def _tab(name: str, data: QueryDict | None = None, **options: Any) -> AttemptForm:
    if name not in TABS:
        raise Http404
    return TABS[name](data, **options)


async def _shown(
    request: PageRequest, part: str, name: str, form: AttemptForm, made: Attempt | None = None, status: int = 200
) -> HttpResponse:
    template = f"playground/tab.html#{part}" if request.htmx else "playground/tab.html"
    context = {"name": name, "title": TITLES[name], "form": form, "attempt": made}
    response: HttpResponse = await sync_to_async(released(render))(request, template, context, status=status)
    if request.htmx and part == "asking":
        response["HX-Retarget"], response["HX-Reswap"] = "#asking", "innerHTML"
    return response
