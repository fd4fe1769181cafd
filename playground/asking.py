"""From a filled-in form to a run: what is kept, and the body that is asked."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import Http404

from access.models import User
from connections.providers.calls import JSON
from playground.forms import AskForm, SettingsForm
from playground.models import Conversation, Run, Turn


class Busy(Exception):
    """An answer of this conversation is still coming."""

    message = "An answer is still coming. Wait for it, or stop it first."


@transaction.atomic
def ask(owner: User, conversation_id: UUID, form: AskForm) -> Run:
    """Add the question to the owner's conversation, which begins with its first one."""
    conversation, _ = Conversation.objects.get_or_create(pk=conversation_id, owner=owner)
    _refuse_second_answer(conversation)
    turn = Turn.objects.create(
        conversation=conversation, text=form.cleaned_data["text"], image=form.cleaned_data["image"]
    )
    if form.cleaned_data["edit"] is not None:
        _replace(conversation, form.cleaned_data["edit"], turn)
    conversation.title = conversation.title or _title(turn.text)
    return _run(turn, form)


@transaction.atomic
def ask_again(turn: Turn, form: SettingsForm) -> Run:
    """A further answer to the same question, with the settings as they are now."""
    _refuse_second_answer(turn.conversation)
    return _run(turn, form)


def body(conversation: Conversation, form: SettingsForm, turn: Turn | None = None, draft: str = "") -> JSON:
    """The call that answers `turn`, or an unsent draft after all turns."""
    messages = [{"role": "system", "content": form.cleaned_data["system"]}] if form.cleaned_data["system"] else []
    earlier = conversation.turns.live().filter(pk__lt=turn.pk) if turn else conversation.turns.live()
    for told in earlier.complete():
        if told.answer and told.answer.text:
            messages += [_question(told.text, told.image), {"role": "assistant", "content": told.answer.text}]
    messages.append(_question(turn.text, turn.image) if turn else _question(draft))
    streaming = {"stream": True} if form.cleaned_data["stream"] else {}
    return {"model": form.cleaned_data["model"], "messages": messages, **form.parameters, **streaming}


def _refuse_second_answer(conversation: Conversation) -> None:
    Conversation.objects.select_for_update().get(pk=conversation.pk)
    runs = Run.objects.filter(turn__conversation=conversation)
    runs.settle_abandoned()
    if runs.running().exists():
        raise Busy


def _replace(conversation: Conversation, pk: int, turn: Turn) -> None:
    """Put `turn` in the place of an earlier one and of all that followed it."""
    replaced = conversation.turns.live().filter(pk__gte=pk, pk__lt=turn.pk)
    if not replaced.filter(pk=pk).exists():
        raise Http404
    replaced.update(replaced_by=turn)


def _run(turn: Turn, form: SettingsForm) -> Run:
    conversation = turn.conversation
    conversation.model, conversation.system = form.cleaned_data["model"], form.cleaned_data["system"]
    conversation.parameters = form.kept
    conversation.save()
    return Run.objects.create(
        turn=turn, model=conversation.model, kind=form.kind, request=body(conversation, form, turn)
    )


def _question(text: str, image: str = "") -> dict[str, Any]:
    if not image:
        return {"role": "user", "content": text}
    picture = {"type": "image_url", "image_url": {"url": image}}
    return {"role": "user", "content": [{"type": "text", "text": text}, picture]}


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
