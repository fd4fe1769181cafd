"""The page that tells what would happen: for everybody about themselves, for admins about anybody."""

import pytest

from access import keys
from access.models import User
from connections.providers.calls import Mode
from gateway.explain.forms import QuestionForm, content
from gateway.models import Route, Usage
from gateway.subjects import MOST
from tests.playground.conftest import Visitor

GPT = "openai/gpt-4o-mini"


@pytest.fixture
def chat(connect, analysts):
    return connect("openai", {"gpt-4o-mini": Mode.CHAT, "embedder": Mode.EMBEDDING}, group=analysts)


@pytest.fixture
def admin(mesh, chat, ada, alice):
    Route.objects.create(name="team-chat").targets.create(model=chat.models.get(public_id=GPT))
    mesh.refresh()
    return Visitor(mesh, ada)


@pytest.fixture
def analyst(admin, alice):
    return Visitor(admin.mesh, alice)


def ask(visitor, htmx=True, **fields):
    answer = visitor.open("POST", "/explain/", {"model": GPT, **fields}, htmx=htmx)
    return answer.status, " ".join(answer.read().decode().split())


def test_an_admin_sees_every_rule_for_somebody_else_and_nothing_is_sent(admin, upstream):
    status, page = ask(admin, user="alice", model="team-chat")

    assert status == 200
    assert f"<strong>{GPT}</strong> of openai would answer alice" in page
    for told in ("alice is active.", "The role analyst may ask models.", "Models of team-chat", "Hello!", "$0.000"):
        assert told in page
    assert "<html" not in page
    assert (upstream.requests, Usage.objects.count()) == ([], 0)


def test_it_works_as_a_whole_page_without_scripts(admin):
    status, page = ask(admin, htmx=False, user="alice", prompt="A question of mine")

    assert (status, "<html" in page, page.count("A question of mine")) == (200, True, 2)


def test_who_may_not_is_told_which_rule_refuses(admin, charlie):
    admin.mesh.refresh()
    _, page = ask(admin, user="charlie")

    assert "would be refused" in page
    assert "No group of theirs is granted it." in page
    assert "404 model_not_found" in page


def test_a_key_has_its_own_rights(admin, alice):
    key, _ = keys.issue(alice, "narrow", scopes=["generate"], allowed_models=["openai/embedder"])

    assert "This API key is limited to other models." in ask(admin, key=key.public_id)[1]
    assert "would answer alice" in ask(admin, key=key.public_id, model="openai/embedder")[1]


def test_an_analyst_asks_about_nobody_else(analyst, alice, bob):
    own, _ = keys.issue(alice, "mine", scopes=["generate"])
    other, _ = keys.issue(bob, "not mine", scopes=["generate"])

    assert 'name="user"' not in analyst.get("/explain/")
    assert "would answer alice" in ask(analyst, user="bob")[1]
    assert "The key mesh_" in ask(analyst, key=own.public_id)[1]
    status, page = ask(analyst, key=other.public_id)
    assert (status, "There is no such key" in page) == (422, True)
    assert "not mine" not in analyst.get("/explain/")


def test_an_analyst_learns_nothing_of_models_of_others(analyst, chat):
    chat.grants.all().delete()
    analyst.mesh.refresh()

    pages = [ask(analyst, model=name)[1] for name in (GPT, "nothing/there", "team-chat")]

    assert pages[0] == pages[1] == pages[2]
    assert GPT not in analyst.get("/explain/")


def test_a_link_to_it_is_answered_at_once(admin):
    page = admin.get("/explain/?user=alice&model=team-chat")

    assert "would answer alice" in page
    assert "appears here" in admin.get("/explain/?user=alice")
    assert "There is no such user." in admin.get("/explain/?user=zoe&model=team-chat")


@pytest.mark.parametrize("beside", ["{", "[1]", "1", "[" * 100_000])
def test_further_fields_that_are_none_are_refused(admin, beside):
    assert ask(admin, fields_beside=beside)[0] == 422


def test_further_fields_go_into_the_request(admin):
    _, page = ask(admin, user="alice", fields_beside='{"max_tokens": 7}')

    assert "tokens&quot;: 7" in page
    assert "unknown_field" in ask(admin, user="alice", fields_beside='{"api_base": "http://x"}')[1]


@pytest.mark.parametrize("mode", Mode)
def test_every_kind_of_model_can_be_asked_about(mode):
    assert content(mode, "one")


def test_many_users_are_typed_rather_than_listed(ada):
    User.objects.bulk_create(User(username=f"user{number}", email=f"{number}@example.test") for number in range(MOST))

    assert QuestionForm(viewer=ada).fields["user"].widget.input_type == "text"


def test_pages_lead_to_it(admin, analyst, alice):
    key, _ = keys.issue(alice, "mine", scopes=["generate"])

    assert f'href="/explain/?user={alice.username}"' in admin.get(f"/users/{alice.pk}/")
    assert f'href="/explain/?key={key.public_id}"' in analyst.get("/keys/")
    assert 'href="/explain/?model=team-chat"' in admin.get("/routes/")
    assert 'href="/explain/"' in analyst.get("/usage/")
