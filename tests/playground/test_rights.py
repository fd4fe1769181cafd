"""Who may see and ask what. `alice` has a conversation; `bob` shares her groups but not her conversations."""

import uuid

import pytest
from django.urls import reverse

from connections.models import Connection, Model, State
from connections.providers.calls import Mode
from playground.catalogue import choices
from playground.forms import SettingsForm
from playground.models import Conversation, Run, Turn


@pytest.fixture
def run(alice, chat) -> Run:
    conversation = Conversation.objects.create(owner=alice, title="Mine", model="openai/gpt-4o-mini")
    turn = Turn.objects.create(conversation=conversation, text="What is our plan?")
    return Run.objects.create(
        turn=turn, model=conversation.model, kind="openai", request={"messages": []}, text="Secret.", state="done"
    )


def addresses(run: Run) -> list[tuple[str, str]]:
    conversation = run.turn.conversation_id
    return [
        ("get", reverse("conversation", args=[conversation])),
        ("post", reverse("ask", args=[conversation])),
        ("post", reverse("conversation-settings", args=[conversation])),
        ("post", reverse("draft-code", args=[conversation])),
        ("post", reverse("rename-conversation", args=[conversation])),
        ("post", reverse("delete-conversation", args=[conversation])),
        ("get", reverse("edit-turn", args=[run.turn_id])),
        ("post", reverse("regenerate", args=[run.turn_id])),
        ("get", reverse("run", args=[run.pk])),
        ("post", reverse("stop-run", args=[run.pk])),
        ("get", reverse("run-code", args=[run.pk])),
        ("get", reverse("effective-request", args=[run.pk])),
    ]


ASKED = {"model": "openai/gpt-4o-mini", "text": "Hi", "title": "Taken over", "stream": "on"}


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("htmx", [True, False])
def test_another_users_things_are_as_good_as_absent(client, bob, run, number, htmx):
    client.force_login(bob)
    method, address = addresses(run)[number]
    headers = {"HX-Request": "true"} if htmx else {}

    response = getattr(client, method)(address, ASKED, headers=headers)

    assert response.status_code == 404
    assert (Conversation.objects.get().title, Turn.objects.count(), Run.objects.count()) == ("Mine", 1, 1)


@pytest.mark.parametrize("number", range(12))
def test_who_may_not_ask_models_is_refused(client, oscar, run, number):
    client.force_login(oscar)
    method, address = addresses(run)[number]

    assert getattr(client, method)(address, ASKED).status_code == 403


@pytest.mark.parametrize("number", range(12))
def test_who_is_not_signed_in_is_sent_to_sign_in(client, run, number):
    method, address = addresses(run)[number]

    assert reverse("account_login") in getattr(client, method)(address, ASKED).headers["Location"]


def test_whose_session_ended_goes_to_sign_in_as_a_whole_page(client, run):
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/playground/x/"}

    response = client.post(reverse("ask", args=[run.turn.conversation_id]), ASKED, headers=headers)

    assert response.headers["HX-Redirect"] == f"{reverse('account_login')}?next=/playground/x/"


def test_an_edit_of_another_conversations_turn_is_refused(client, bob, run):
    client.force_login(bob)

    response = client.post(reverse("ask", args=[uuid.uuid4()]), {**ASKED, "edit": run.turn_id})

    assert response.status_code == 404
    assert Turn.objects.live().get() == run.turn


def test_lists_hold_only_ones_own_conversations(client, bob, run):
    client.force_login(bob)

    assert "Mine" not in client.get(reverse("playground")).content.decode()
    assert "Mine" not in client.get(reverse("conversations")).content.decode()


def paused(connection: Connection) -> None:
    connection.paused = True


def embedding(connection: Connection) -> None:
    connection.models.update(mode=Mode.EMBEDDING)


def switched_off(connection: Connection) -> None:
    connection.models.update(enabled=False)


def ungranted(connection: Connection) -> None:
    connection.grants.all().delete()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (paused, "connection paused"),
        (embedding, "embedding only, it does not chat"),
        (switched_off, "switched off"),
        (ungranted, "not granted to your groups"),
    ],
)
def test_a_model_that_cannot_be_asked_says_why(client, alice, chat, change, reason):
    change(chat)
    chat.save()
    client.force_login(alice)

    page = client.get(reverse("playground")).content.decode()
    refusal = client.post(reverse("ask", args=[uuid.uuid4()]), ASKED, headers={"HX-Request": "true"})

    assert f"· {reason}</small>" in page
    assert refusal.status_code == 422
    assert f"gpt-4o-mini cannot be used: {reason}" in refusal.content.decode()
    assert not Run.objects.exists()


def test_a_failing_model_can_be_asked_with_a_warning(client, alice, chat):
    chat.state, chat.cause = State.FAILING, "The provider refused our key."
    chat.save()
    client.force_login(alice)

    page = client.get(reverse("playground")).content.decode()

    assert "failing: The provider refused our key." in page
    assert choices(alice)[0].reason == ""


def test_a_model_that_does_not_exist_is_refused(client, alice, chat):
    client.force_login(alice)

    response = client.post(reverse("ask", args=[uuid.uuid4()]), {**ASKED, "model": "openai/none"})

    assert response.status_code == 422
    assert "There is no such model." in response.content.decode()


def test_who_has_picked_no_model_is_told_so(client, alice):
    client.force_login(alice)

    response = client.post(reverse("ask", args=[uuid.uuid4()]), {"text": "Hello"})

    assert response.status_code == 422
    assert "Pick a model first." in response.content.decode()


def test_the_first_pickable_model_is_proposed(alice, chat):
    Model.objects.create(connection=chat, public_id="openai/aaa", upstream_id="aaa", enabled=False)

    assert SettingsForm(initial={}, user=alice).choice.value == "openai/gpt-4o-mini"
