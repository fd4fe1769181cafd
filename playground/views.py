"""The playground's pages. The composer's answer is an event stream; without JavaScript it is the whole page."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import Http404, HttpResponse, HttpResponseBase
from django.middleware.csrf import get_token
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST, require_safe

from access.permissions import requires
from access.principal import Principal
from access.requests import PageRequest
from access.roles import Permission
from access.streams import DONE, event_stream, message, partial
from access.threads import in_thread, released
from playground import answering, asking
from playground.answering import Answering
from playground.asking import Busy
from playground.forms import AskForm, SettingsForm
from playground.models import Conversation, Run, Turn
from playground.render import plain
from playground.snippets import snippets

RECENT, PAGE = 8, 50
"""Conversations beside the lane, and on a page of their list."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer that is to be made, and where its turns are put on the page."""

    run: Run
    principal: Principal
    turns: list[Turn]
    target: str
    swap: str
    form: AskForm | None = None
    """What the composer shows next; None: it stays as it is."""


# --- pages ------------------------------------------------------------------------------------------------


@requires(Permission.USE_MODELS)
@require_safe
def page(request: PageRequest, conversation_id: UUID | None = None) -> HttpResponse:
    """A conversation, or the blank page on which the next one begins."""
    conversation = Conversation()
    if conversation_id:
        conversation = get_object_or_404(Conversation.objects.visible_to(request.user), pk=conversation_id)
        Run.objects.filter(turn__conversation=conversation).settle_abandoned()
    wanted = {"model": request.GET["model"]} if "model" in request.GET else {}
    form = AskForm(initial={**conversation.settings, **wanted}, user=request.user)
    return _show(request, conversation, form)


@requires(Permission.USE_MODELS)
@require_safe
def edit(request: PageRequest, turn_id: int) -> HttpResponse:
    """The conversation with one question in the composer, to be sent in its own place."""
    turn = get_object_or_404(Turn.objects.visible_to(request.user).live(), pk=turn_id)
    initial = {**turn.conversation.settings, "text": turn.text, "edit": turn.pk}
    form = AskForm(initial=initial, user=request.user)
    if request.htmx:
        return render(request, "playground/page.html#question", {"form": form, "conversation": turn.conversation})
    return _show(request, turn.conversation, form)


@requires(Permission.USE_MODELS)
@require_POST
def change_settings(request: PageRequest, conversation_id: UUID) -> HttpResponse:
    """The picker and the parameters again, for another model; nothing is asked or stored."""
    form = AskForm(initial=request.POST.dict(), user=request.user)
    conversation = _own(request, conversation_id)
    if request.htmx:
        return render(request, "playground/_settings.html", {"form": form, "conversation": conversation})
    return _show(request, conversation, form)


@requires(Permission.USE_MODELS)
@require_safe
def conversations(request: PageRequest) -> HttpResponse:
    """All of them, the newest first; `before` is where the next page begins."""
    before = _moment(request.GET.get("before", ""))
    visible = Conversation.objects.visible_to(request.user)
    found = list((visible.filter(updated_at__lt=before) if before else visible)[: PAGE + 1])
    older = found[PAGE - 1].updated_at if len(found) > PAGE else None
    return render(request, "playground/conversations.html", {"conversations": found[:PAGE], "older": older})


@requires(Permission.USE_MODELS)
@require_POST
def rename(request: PageRequest, conversation_id: UUID) -> HttpResponse:
    conversation = get_object_or_404(Conversation.objects.visible_to(request.user), pk=conversation_id)
    title = " ".join(request.POST.get("title", "").replace("\0", "").split())[:120]
    if title:
        Conversation.objects.filter(pk=conversation.pk).update(title=title)
    return redirect("conversation", conversation.pk)


@requires(Permission.USE_MODELS)
@require_POST
def delete(request: PageRequest, conversation_id: UUID) -> HttpResponse:
    """An answer that still comes notices that its row is gone, and ends."""
    get_object_or_404(Conversation.objects.visible_to(request.user), pk=conversation_id).delete()
    return redirect("playground")


# --- answers ----------------------------------------------------------------------------------------------


@requires(Permission.USE_MODELS)
@require_POST
async def ask(request: PageRequest, conversation_id: UUID) -> HttpResponseBase:
    """Ask what is in the composer: after all turns, or in the place of the one that is being edited."""
    return await _answer(request, await sync_to_async(released(_asked))(request, conversation_id))


@requires(Permission.USE_MODELS)
@require_POST
async def regenerate(request: PageRequest, turn_id: int) -> HttpResponseBase:
    """Answer a question once more, with the settings as they are now."""
    return await _answer(request, await sync_to_async(released(_asked_again))(request, turn_id))


def _asked(request: PageRequest, conversation_id: UUID) -> Begun | HttpResponse:
    conversation = _own(request, conversation_id)
    form = AskForm(request.POST, request.FILES, user=request.user)
    run = _begin(form, lambda: asking.ask(request.user, conversation_id, form))
    if run is None:
        return _refuse(request, conversation, form)
    blank = AskForm(initial=run.turn.conversation.settings, user=request.user)
    if form.cleaned_data["edit"] is None:
        return Begun(run, request.user.principal, [run.turn], "#turns", "beforeend", blank)
    turns = list(run.turn.conversation.turns.live().complete())
    return Begun(run, request.user.principal, turns, "#turns", "innerHTML", blank)


def _asked_again(request: PageRequest, turn_id: int) -> Begun | HttpResponse:
    turn = get_object_or_404(Turn.objects.visible_to(request.user).live(), pk=turn_id)
    data = request.POST if "model" in request.POST else turn.conversation.settings
    form = SettingsForm(data, user=request.user)
    run = _begin(form, lambda: asking.ask_again(turn, form))
    if run is None:
        return _refuse(request, turn.conversation, form)
    return Begun(run, request.user.principal, [turn], f"#turn-{turn.pk}", "outerHTML")


def _begin(form: SettingsForm, begin: Callable[[], Run]) -> Run | None:
    """The run that was written down; None: the form says why there is none."""
    if not form.is_valid():
        return None
    try:
        return begin()
    except Busy as busy:
        form.add_error(None, busy.message)
        return None


def _refuse(request: PageRequest, conversation: Conversation, form: SettingsForm) -> HttpResponse:
    if not request.htmx:
        return _show(request, conversation, form, status=422)
    context = {"form": form, "conversation": conversation}
    return render(request, "playground/_refused.html", context, status=422)


async def _answer(request: PageRequest, begun: Begun | HttpResponse) -> HttpResponseBase:
    if isinstance(begun, HttpResponse):
        return begun
    answer = Answering(begun.run, begun.principal)
    if not request.htmx:
        await answer.finished()
        return redirect("conversation", begun.run.turn.conversation_id)
    return event_stream(_events(request, begun, answer))


async def _events(request: PageRequest, begun: Begun, answer: Answering) -> AsyncGenerator[bytes]:
    """The stream that the composer reads. When its reader leaves, the answer goes on."""
    conversation = begun.run.turn.conversation
    yield await _rendered(
        "playground/_begun.html",
        begun=begun,
        form=begun.form,
        conversation=conversation,
        recent=Conversation.objects.visible_to(request.user)[:RECENT],
        csrf_token=get_token(request),
    )
    async for piece in answer.pieces():
        yield message(partial(f"#text-{begun.run.pk}", plain(piece), "beforeend"))
    yield await _rendered("playground/_ended.html", run=begun.run)
    yield DONE


async def _rendered(template: str, **context: Any) -> bytes:
    """A template as one event, rendered in a thread: it may query, and Markdown takes its time."""
    return message(await in_thread(render_to_string, template, context))


def _show(request: PageRequest, conversation: Conversation, form: SettingsForm, status: int = 200) -> HttpResponse:
    turns = list(conversation.turns.live().complete())
    context = {
        "conversation": conversation,
        "form": form,
        "turns": turns,
        "running": next((turn.answer for turn in turns if turn.answer and turn.answer.running), None),
        "recent": Conversation.objects.visible_to(request.user)[:RECENT],
    }
    return render(request, "playground/page.html", context, status=status)


# --- one answer -------------------------------------------------------------------------------------------


@requires(Permission.USE_MODELS)
@require_safe
def run(request: PageRequest, run_id: UUID) -> HttpResponse:
    """Where an answer has got to; asked again and again by a page that was loaded while it came."""
    found = _run(request, run_id)
    if not request.htmx:
        return redirect("conversation", found.turn.conversation_id)
    Run.objects.filter(pk=run_id).settle_abandoned()
    return render(request, "playground/_polled.html", {"run": _run(request, run_id)})


@requires(Permission.USE_MODELS)
@require_POST
async def stop(request: PageRequest, run_id: UUID) -> HttpResponse:
    find = sync_to_async(released(_run))
    found = await find(request, run_id)
    await answering.stop(run_id)
    if not request.htmx:
        return redirect("conversation", found.turn.conversation_id)
    context = {"run": await find(request, run_id)}
    return HttpResponse(await in_thread(render_to_string, "playground/_ended.html", context))


@requires(Permission.USE_MODELS)
@require_safe
def run_code(request: PageRequest, run_id: UUID) -> HttpResponse:
    return _code(request, _run(request, run_id).request)


@requires(Permission.USE_MODELS)
@require_POST
def draft_code(request: PageRequest, conversation_id: UUID) -> HttpResponse:
    """The call that the composer would make now."""
    form = SettingsForm(request.POST, user=request.user)
    if not form.is_valid():
        return _sheet(request, "playground/code.html", {"form": form})
    body = asking.body(_own(request, conversation_id), form, draft=request.POST.get("text") or "Hello!")
    return _code(request, body)


@requires(Permission.USE_MODELS)
@require_safe
def effective_request(request: PageRequest, run_id: UUID) -> HttpResponse:
    """What was sent to the provider for this answer, without credentials."""
    return _sheet(request, "playground/effective.html", {"run": _run(request, run_id)})


def _moment(text: str) -> datetime | None:
    """The time in a query; None: there is none, or it makes no sense."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def _own(request: PageRequest, conversation_id: UUID) -> Conversation:
    """The user's conversation of this id, or a new one: a blank page carries the id of what it may become."""
    found = Conversation.objects.filter(pk=conversation_id).first()
    if found and found.owner_id != request.user.pk:
        raise Http404
    return found or Conversation(pk=conversation_id, owner=request.user)


def _run(request: PageRequest, run_id: UUID) -> Run:
    visible = Run.objects.visible_to(request.user).select_related("turn__conversation")
    return get_object_or_404(visible, pk=run_id)


def _code(request: PageRequest, body: dict[str, Any]) -> HttpResponse:
    shown = answering.shortened(body)
    context = {"snippets": snippets(shown, settings.BASE_URL), "cut": shown != body}
    return _sheet(request, "playground/code.html", context)


def _sheet(request: PageRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A page of its own, or its content for the dialog."""
    return render(request, f"{template}#sheet" if request.htmx else template, context)
