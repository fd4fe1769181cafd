"""Adding a connection in four steps. What was typed waits in the session, so every step has its own address."""

from collections.abc import Container, Iterable
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_safe

from access.permissions import requires
from access.requests import PageRequest, posted, takes_form
from access.roles import Permission
from connections import drafts, runtime, services, trials
from connections.account import Account, SettingsRefused
from connections.drafts import Draft
from connections.forms import ConnectionForm, GroupsForm, SettingsForm
from connections.gallery import gallery
from connections.model_forms import OwnModelsForm
from connections.providers import registry
from connections.providers.calls import ModelInfo
from connections.providers.contract import Provider
from connections.providers.errors import ProviderError
from connections.services import ModelChoice

STEPS = ("Provider", "Credentials", "Models", "Access")


def kind_or_404(kind: str) -> type[Provider]:
    found = registry.providers().get(kind)
    if found is None:
        raise Http404("There is no such provider.")
    return found


def kind_with_models_or_404(kind: str) -> type[Provider]:
    found = kind_or_404(kind)
    if not found.modes:
        raise Http404("Connections of this kind have no models.")
    return found


def forms_for(draft: Draft, data: Any = None) -> tuple[ConnectionForm, SettingsForm]:
    initial = {"name": draft.kind.label} | draft.options
    options = ConnectionForm(data, initial=initial, has_models=bool(draft.kind.modes))
    stored = frozenset(draft.secrets)
    return options, SettingsForm(draft.kind, draft.settle, data, initial=draft.settings, stored=stored)


def keep_input(request: PageRequest, draft: Draft, options: ConnectionForm, settings: SettingsForm) -> bool:
    """Put what was typed into the draft, valid or not, so that no secret needs to be typed twice."""
    valid = all([options.is_valid(), settings.is_valid()])
    draft.options = {**draft.options, **options.cleaned_data}
    draft.type(settings.typed_settings(), settings.typed_secrets())
    drafts.save(request.session, draft)
    settings.show_kept(draft.secrets)
    return valid


@requires(Permission.MANAGE_CONNECTIONS)
@require_safe
def provider(request: PageRequest) -> HttpResponse:
    query = request.GET.get("q", "").strip()[:80]
    return render(
        request, "connections/new/credentials.html", _page(None, 0) | {"query": query, "gallery": gallery(query)}
    )


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
@sensitive_post_parameters()
@never_cache
def credentials(request: PageRequest, kind: str) -> HttpResponse:
    draft = drafts.load(request.session, kind_or_404(kind))
    options, settings = forms_for(draft, posted(request))
    if request.method == "POST" and keep_input(request, draft, options, settings):
        paused = "paused" in request.POST
        return _create(request, draft, paused=paused) if paused or not draft.kind.modes else _next(draft, 2)
    return render_credentials(request, draft, options, settings)


def render_credentials(
    request: PageRequest, draft: Draft, options: ConnectionForm, settings: SettingsForm, **more: Any
) -> HttpResponse:
    context = _page(draft, 1) | {"options": options, "settings": settings} | more
    status = 422 if options.errors or settings.errors else 200
    template = "connections/new/credentials.html#panel" if request.htmx else "connections/new/credentials.html"
    response = render(request, template, context, status=status)
    if request.htmx:
        response["HX-Retarget"], response["HX-Reswap"] = "#panel", "outerHTML"
    return response


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
@never_cache
def models(request: PageRequest, kind: str) -> HttpResponse:
    """Tick what the account offers, or type what no list names."""
    draft = drafts.load(request.session, kind_with_models_or_404(kind))
    try:
        account = draft.account
    except SettingsRefused:
        return redirect("connection-new-credentials", kind)
    problem = ""
    if not draft.offered or "refresh" in request.GET:
        problem = _discover(draft, account)
        drafts.save(request.session, draft)
    form = OwnModelsForm(draft.kind, posted(request), initial=_typed_models(draft))
    if form.is_valid():
        draft.models = [*ticked(draft.offered, request.POST.getlist("offered")), *form.choices()]
        drafts.save(request.session, draft)
        return _create(request, draft, paused=True) if "paused" in request.POST else _next(draft, 3)
    offers = offers_of(draft.offered, {(choice.upstream_id, choice.mode) for choice in draft.models})
    context = _page(draft, 2) | {"offers": offers, "form": form, "problem": problem}
    return render(request, "connections/new/models.html", context, status=422 if form.errors else 200)


def _discover(draft: Draft, account: Account) -> str:
    """Ask the provider what it offers. Returns what was wrong; the provider's catalogue then takes its place."""
    try:
        draft.offered = runtime.run(trials.models_at(account.provider(), draft.options.get("ca_certificate", "")))
    except ProviderError as error:
        draft.offered = list(draft.kind.catalogue)
        return error.message
    return ""


def offers_of(offered: Iterable[ModelInfo], chosen: Container[tuple[str, str]]) -> list[tuple[str, ModelInfo, bool]]:
    """For each model offered: the value of its box, the model, whether it is ticked."""
    return [(f"{info.mode}:{info.id}", info, (info.id, info.mode) in chosen) for info in offered]


def ticked(offered: Iterable[ModelInfo], values: Container[str]) -> list[ModelChoice]:
    """What was chosen among the models offered, by the values of the boxes."""
    return [_choice_of(info) for info in offered if f"{info.mode}:{info.id}" in values]


def _choice_of(info: ModelInfo) -> ModelChoice:
    return ModelChoice(
        info.id,
        info.mode,
        underlying=info.underlying,
        capabilities=sorted(info.capabilities),
        context=info.context,
        max_output=info.max_output,
    )


def _typed_models(draft: Draft) -> dict[str, Any]:
    offered = {(info.id, info.mode) for info in draft.offered}
    typed = [choice for choice in draft.models if (choice.upstream_id, choice.mode) not in offered]
    if not typed:
        return {}
    ids, first = [choice.upstream_id for choice in typed], typed[0]
    return {"upstream_ids": ids, "mode": first.mode, "options": first.options}


@requires(Permission.MANAGE_CONNECTIONS)
@takes_form
@never_cache
def access(request: PageRequest, kind: str) -> HttpResponse:
    draft = drafts.load(request.session, kind_with_models_or_404(kind))
    form = GroupsForm(posted(request), initial={"groups": draft.groups})
    if form.is_valid():
        draft.groups = [group.pk for group in form.cleaned_data["groups"]]
        drafts.save(request.session, draft)
        return _create(request, draft, paused="paused" in request.POST)
    context = _page(draft, 3) | {"form": form}
    return render(request, "connections/new/access.html", context, status=422 if form.errors else 200)


def _create(request: PageRequest, draft: Draft, *, paused: bool) -> HttpResponse:
    groups = Group.objects.filter(pk__in=draft.groups)
    try:
        connection = services.create_connection(
            request.user, draft.account, draft.options, models=draft.models, groups=groups, paused=paused
        )
    except ValidationError as refusal:
        messages.error(request, f"Nothing was saved. {' '.join(refusal.messages)}")
        return redirect("connection-new-credentials", draft.kind.kind)
    drafts.drop(request.session, draft.kind)
    outcome = "It is paused." if paused else "Its first check runs within seconds."
    messages.success(request, f"{connection.name} is saved. {outcome}")
    return redirect("connection", connection.pk)


def _next(draft: Draft, step: int) -> HttpResponse:
    return redirect(_address(draft.kind, step))


def _address(kind: type[Provider] | None, step: int) -> str:
    if step == 0 or kind is None:
        return reverse("connection-new")
    return reverse(f"connection-new-{STEPS[step].lower()}", args=[kind.kind])


def _page(draft: Draft | None, current: int) -> dict[str, Any]:
    kind = draft.kind if draft else None
    names = STEPS if kind is None or kind.modes else STEPS[:2]
    states = ["done" if step < current else "current" if step == current else "later" for step in range(len(names))]
    addresses = [_address(kind, step) for step in range(len(names))]
    return {
        "kind": kind,
        "draft": draft,
        "gallery": gallery(),
        "steps": list(zip(names, states, addresses, strict=True)),
        "back": addresses[max(0, current - 1)],
    }
