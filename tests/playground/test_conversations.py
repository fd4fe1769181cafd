"""Conversations are kept, found again, renamed and deleted."""

import pytest
from django.urls import reverse

from playground.models import FIRST_SYSTEM, Conversation, Turn


@pytest.fixture
def conversation(alice, chat) -> Conversation:
    made = Conversation.objects.create(owner=alice, title="Orders", model="openai/gpt-4o-mini", system="Be brief.")
    Turn.objects.create(conversation=made, text="Newest order?")
    return made


@pytest.fixture
def page(client, alice):
    client.force_login(alice)
    return lambda name, *args, **query: client.get(reverse(name, args=args), query).content.decode()


def test_a_new_conversation_proposes_a_system_prompt(page, chat):
    assert f">\n{FIRST_SYSTEM}</textarea>" in page("playground")


def test_a_conversation_opens_with_its_settings(page, conversation):
    Conversation.objects.update(parameters={"temperature": 0.25})

    shown = page("conversation", conversation.pk)

    assert "Be brief.</textarea>" in shown
    assert 'value="0.25"' in shown
    assert "Newest order?" in shown


def test_rename(client, page, conversation):
    client.post(reverse("rename-conversation", args=[conversation.pk]), {"title": "  Newest\n orders "})

    assert "Newest orders" in page("conversations")


@pytest.mark.parametrize("title", ["", "   ", "x" * 500, "<b>x</b>", "a\0b"])
def test_any_name_leaves_the_page_whole(client, page, conversation, title):
    client.post(reverse("rename-conversation", args=[conversation.pk]), {"title": title})

    assert "<b>x</b>" not in page("conversations")
    assert 0 < len(Conversation.objects.get().title) <= 120


def test_delete(client, page, conversation):
    client.post(reverse("delete-conversation", args=[conversation.pk]))

    assert "No conversation yet." in page("conversations")
    assert not Turn.objects.exists()


def test_editing_without_javascript_puts_the_question_into_the_composer(page, conversation):
    turn = conversation.turns.get()

    shown = page("edit-turn", turn.pk)

    assert "Editing an earlier message." in shown
    assert "Newest order?</textarea>" in shown
    assert f'name="edit" value="{turn.pk}"' in shown


def test_a_link_opens_the_playground_with_its_model(page, chat, connect, analysts):
    connect("llamacpp", group=analysts)

    assert "Ask smollm2 anything." in page("playground", model="llamacpp/smollm2")


def test_changing_the_model_keeps_what_was_typed(client, page, chat, connect, analysts):
    connect("llamacpp", group=analysts)
    page("playground")
    fields = {"model": "llamacpp/smollm2", "temperature": "0.7", "system": "Rhyme.", "text": "Half a quest"}

    whole = client.post(reverse("conversation-settings", args=["11111111-1111-4111-8111-111111111111"]), fields)
    parts = client.post(
        reverse("conversation-settings", args=["11111111-1111-4111-8111-111111111111"]),
        fields,
        headers={"HX-Request": "true"},
    )

    assert "Half a quest</textarea>" in whole.content.decode()
    for answer in (whole, parts):
        assert 'value="0.7"' in answer.content.decode()
        assert "Rhyme.</textarea>" in answer.content.decode()
    assert parts.content.decode().count("<hx-partial") == 4
    assert not Conversation.objects.exists()


def test_older_conversations_come_page_by_page(page, alice):
    for number in range(53):
        Conversation.objects.create(owner=alice, title=f"Number {number}.")

    first = page("conversations")
    second = page("conversations", before=Conversation.objects.all()[49].updated_at.isoformat())

    assert "Number 52." in first and "Number 3." in first and "Number 2." not in first
    assert "?before=" in first
    assert "Number 2." in second and "Number 3." not in second
    assert "?before=" not in second


@pytest.mark.parametrize("before", ["", "x", "2026-13-45T99:00", "2026-01-01", "-1", "%00", "9" * 5_000])
def test_a_senseless_page_is_the_first_one(page, conversation, before):
    assert "Orders" in page("conversations", before=before)
