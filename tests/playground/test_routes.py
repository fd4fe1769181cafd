"""A route is picked, asked and remembered like a model; the answer says who gave it."""

import pytest
from django.urls import reverse

from connections.models import Model, State
from connections.providers.calls import Mode
from gateway.models import Limit, Route
from playground.catalogue import choices
from playground.forms import SettingsForm
from playground.models import Conversation, Run
from tests.playground.conftest import Visitor
from tests.upstream.faults import Fault

GPT, CLAUDE, EMBED = "openai/gpt-4o-mini", "anthropic/claude-sonnet-5-5", "compatible/embed"


def make_route(name, *models, **columns):
    route = Route.objects.create(name=name, **columns)
    for priority, model in enumerate(models, 1):
        route.targets.create(model=Model.objects.get(public_id=model), priority=priority)
    return route


@pytest.fixture
def route(connect, analysts):
    connect("openai", group=analysts)
    connect("anthropic", group=analysts)
    connect("compatible", {"embed": Mode.EMBEDDING}, group=analysts)
    return make_route("team-chat", GPT, CLAUDE)


@pytest.fixture
def visitor(mesh, route, alice):
    mesh.refresh()
    return Visitor(mesh, alice)


def picked(user, mode=Mode.CHAT):
    return {choice.value: choice.reason for choice in choices(user, mode) if choice.route}


@pytest.mark.parametrize("stream", ["on", ""])
def test_the_answer_says_who_gave_it_and_after_how_many_attempts(visitor, upstream, stream):
    upstream.script(Fault.status(503))

    visitor.ask("one two", model="team-chat", stream=stream).rest()

    run = visitor.run
    assert (run.state, run.text, run.model) == ("done", "one two", "team-chat")
    assert (run.served, run.connection, run.attempts) == (CLAUDE, "anthropic", 2)
    assert run.effective["body"] == upstream.requests[-1].json
    page = visitor.page
    assert f"{CLAUDE} of anthropic, 2 attempts" in page
    assert "<strong>team-chat</strong>" in page


def test_a_model_that_answers_at_once_needs_no_such_words(visitor):
    visitor.ask("one two", model=GPT).rest()

    assert (visitor.run.served, visitor.run.attempts) == (GPT, 1)
    assert " of openai, 1 attempt" not in visitor.page


def test_a_conversation_outlives_its_route(visitor, route):
    visitor.ask("one two", model="team-chat").rest()
    route.delete()
    visitor.mesh.refresh()

    page = visitor.page
    refused = visitor.open("POST", reverse("regenerate", args=[visitor.run.turn_id]), {}, htmx=True)

    assert "<strong>team-chat</strong>" in page
    assert f"{GPT} of openai, 1 attempt" in page
    assert (refused.status, "There is no such model." in refused.read().decode()) == (422, True)
    assert Conversation.objects.get().model == "team-chat"
    assert Run.objects.count() == 1


def test_the_code_names_the_route(visitor):
    visitor.ask("one two", model="team-chat").rest()

    assert '"model": "team-chat"' in visitor.get(reverse("run-code", args=[visitor.run.pk]))


def test_who_may_use_none_of_its_models_cannot_pick_it(route, alice, charlie):
    assert picked(alice) == {"team-chat": ""}
    assert picked(charlie) == {"team-chat": "none of its models can be used by you"}
    assert not SettingsForm({"model": "team-chat"}, user=charlie).is_valid()


def test_a_route_that_cannot_be_asked_says_why(route, alice):
    make_route("vectors", EMBED)
    make_route("off", GPT, enabled=False)

    assert picked(alice) == {
        "team-chat": "",
        "vectors": "none of its models is for chat",
        "off": "switched off",
    }
    assert picked(alice, Mode.EMBEDDING)["vectors"] == ""


def test_the_first_proposed_is_a_model(route, alice):
    assert SettingsForm(initial={}, user=alice).choice.route is None


def test_only_the_models_that_may_be_asked_count(route, alice):
    Model.objects.filter(public_id=CLAUDE).update(enabled=False)

    (choice,) = [one for one in choices(alice) if one.route]

    assert [model.public_id for model in choice.models] == [GPT]
    assert choice.place == "Route over 1 model"


def test_a_route_warns_when_all_its_models_fail(route, alice):
    def warning():
        return next(one.warning for one in choices(alice) if one.route)

    Model.objects.filter(public_id=GPT).update(state=State.FAILING, cause="It is away.")
    assert warning() == ""
    Model.objects.filter(public_id=CLAUDE).update(state=State.FAILING, cause="So is this.")
    assert warning() == "failing: It is away."


def test_a_route_offers_what_one_of_its_models_takes(route, alice):
    form = SettingsForm(initial={"model": "team-chat"}, user=alice)
    alone = SettingsForm(initial={"model": CLAUDE}, user=alice)

    assert "seed" in form.fields
    assert "seed" not in alone.fields


def test_a_route_takes_pictures_when_all_its_models_do(route, alice):
    def sees():
        return SettingsForm(initial={"model": "team-chat"}, user=alice).sees

    Model.objects.filter(public_id=GPT).update(capabilities=["vision"])
    assert not sees()
    Model.objects.update(capabilities=["vision"])
    assert sees()


def test_the_limits_of_its_models_are_told(visitor):
    Limit.objects.create(scope="model", subject=CLAUDE, what="requests", amount=2, seconds=3600)

    assert "1 limit on your calls to this route's models" in visitor.get("/playground/?model=team-chat")
    assert "2 requests per hour <small>for model" in visitor.get("/playground/?model=team-chat")


def test_the_other_tabs_take_routes_too(visitor):
    make_route("vectors", EMBED)
    visitor.mesh.refresh()
    assert "vectors (Route over 1 model)" in visitor.get("/playground/tabs/embeddings/")

    fields = {"model": "vectors", "input": "red"}
    page = visitor.open("POST", "/playground/tabs/embeddings/", fields, htmx=True).read().decode()

    assert f"{EMBED} of compatible, 1 attempt" in page
