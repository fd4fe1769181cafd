"""Calls through the real server to what only Anthropic has: its old route for texts."""

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from access import keys
from access.models import EVERYONE, User
from access.roles import Role, Scope
from connections.providers.calls import Mode
from tests.mesh import make_connection, serving

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one two three"}]


@pytest.fixture(scope="module")
def served(django_db_setup, django_db_blocker, upstream_server):
    with django_db_blocker.unblock():
        everyone, _ = Group.objects.get_or_create(name=EVERYONE)
        make_connection(upstream_server, "anthropic", {"claude-2.1": Mode.COMPLETION}, everyone)
        owner = User.objects.create_user("caller", role=Role.ANALYST)
        with serving() as running:
            running.key = keys.issue(owner, "suite", scopes=list(Scope.values))[1]
            running.refresh()
            yield running
        call_command("flush", interactive=False, verbosity=0)
        Group.objects.get_or_create(name=EVERYONE)


@pytest.fixture
def mesh(served, upstream):
    return served


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_is_continued_and_its_tokens_estimated(mesh, upstream, stream):
    body = {"model": "anthropic/claude-2.1", "prompt": "one two three", "max_tokens": 2, "stream": stream}

    answer = mesh.post("/v1/completions", body)

    choices = [choice for chunk in answer.chunks for choice in chunk["choices"]] if stream else answer.json["choices"]
    assert "".join(choice["text"] for choice in choices) == "one two "
    assert choices[-1]["finish_reason"] == "length"
    row = mesh.usage(answer)
    assert (row.state, row.estimated) == ("ok", True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_is_written_down_for_it(mesh, upstream, stream):
    body = {"model": "anthropic/claude-2.1", "messages": HELLO, "max_tokens": 50, "stream": stream}

    answer = mesh.post("/v1/chat/completions", body)

    assert answer.text == "one two three"
    assert upstream.requests[0].route == "/v1/complete"
    assert upstream.requests[0].json["prompt"] == "Be brief.\n\nHuman: one two three\n\nAssistant:"


def test_several_prompts_are_several_requests(mesh, upstream):
    body = {"model": "anthropic/claude-2.1", "prompt": ["one two", "three"], "max_tokens": 50}

    answer = mesh.post("/v1/completions", body)

    assert [choice["text"] for choice in answer.json["choices"]] == ["one two", "three"]
    assert len(upstream.requests) == 2
