"""Who may ask: the rights of now, whatever a key was made with."""

import pytest

from access import services
from access.models import User
from access.roles import Role
from tests.gateway.contract import chat, check_refusal

CHAT = "/v1/chat/completions"


@pytest.fixture
def asked(mesh, upstream, connect, analysts, alice, key_for):
    """The mesh, called with a key of alice, who may use one model."""
    connect("openai", group=analysts)
    mesh.key = key_for(alice)
    mesh.refresh()
    return mesh


def become(ada, user: User, role: str) -> None:
    services.update_user(ada, user, email=user.email, role=role, groups=user.groups.all(), is_active=True)


def test_a_key_loses_the_models_with_its_owners_role(asked, upstream, ada, alice):
    assert asked.post(CHAT, chat()).status == 200

    become(ada, alice, Role.AUDITOR)
    asked.refresh()

    check_refusal(asked.post(CHAT, chat()), 403, "scope_denied")
    assert asked.get("/v1/models").json["data"] == []
    assert len(upstream.requests) == 1
