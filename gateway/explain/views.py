"""The page that tells what would happen to a call."""

import json

from asgiref.sync import sync_to_async
from django.http import HttpResponse, QueryDict
from django.shortcuts import render

from access.permissions import requires
from access.principal import Principal
from access.requests import PageRequest, takes_form
from access.roles import Permission
from access.threads import released
from connections.providers.calls import JSON, Mode
from gateway.explain.forms import QuestionForm
from gateway.explain.steps import explain
from gateway.pipeline import engine
from gateway.snapshot import Snapshot


@requires(Permission.USE_MODELS)
@takes_form
async def explanation(request: PageRequest) -> HttpResponse:
    """The question, filled in from the address where a page leads here, and its answer. Nothing is sent or counted."""
    form = await sync_to_async(released(_form))(request)
    told = await _told(form) if not form.errors and form.is_bound else None
    return await sync_to_async(released(_show))(request, form, told)


def _form(request: PageRequest) -> QuestionForm:
    given: QueryDict = (request.POST if request.method == "POST" else request.GET).copy()
    given.setdefault("user", request.user.username)
    if request.method == "POST" or given.get("model"):
        form = QuestionForm(given, viewer=request.user)
        form.full_clean()
        return form
    return QuestionForm(initial=given.dict(), viewer=request.user)


async def _told(form: QuestionForm) -> JSON:
    running = await engine()
    principal: Principal = form.cleaned_data["principal"]
    mode = _mode(running.snapshot, principal, form.cleaned_data["model"])
    told = await explain(running, principal, mode, form.body(mode), whole=form.sees_all)
    shown: JSON = {"refused": [step for step in told["steps"] if not step["holds"]]}
    if "request" in told:
        shown["body"] = json.dumps(told["request"]["body"], indent=2, ensure_ascii=False)
    return {**told, **shown}


def _mode(snapshot: Snapshot, principal: Principal, name: str) -> Mode:
    """What the model is for; of one that is not the caller's to know, it is not told."""
    route = snapshot.routes.get(name)
    asked = [target.model for target in route.targets] if route else [*filter(None, [snapshot.models.get(name)])]
    return next((entry.mode for entry in asked if entry.granted_to(principal)), Mode.CHAT)


def _show(request: PageRequest, form: QuestionForm, told: JSON | None) -> HttpResponse:
    status = 422 if form.errors else 200
    part = "#question" if form.errors else "#verdict"
    template = f"gateway/explain.html{part if request.htmx else ''}"
    response = render(request, template, {"form": form, "told": told}, status=status)
    if request.htmx and form.errors:
        response["HX-Retarget"] = "#question"
    return response
