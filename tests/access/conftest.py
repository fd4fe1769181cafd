"""Pages and API as somebody."""

import pytest
from django.core.cache import cache
from django.test import Client
from rest_framework.test import APIClient

from access.models import AuditEvent, User
from connections.models import Connection, Grant, Model


@pytest.fixture(autouse=True)
def fresh_limits():
    """No failed sign-in of another test counts."""
    cache.clear()


@pytest.fixture
def signed_in():
    """`signed_in(user)` gives a browser where the user has signed in."""

    def make(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def calling(key_for):
    """`calling(user, scopes=[…])` gives a client that presents a new key of the user."""

    def make(user: User, scopes: list[str] | None = None, **options) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key_for(user, scopes, **options)}")
        return client

    return make


@pytest.fixture
def model(analysts):
    """A model that Analysts may use, beside one that nobody may."""
    connection = Connection.objects.create(name="Main", slug="main", kind="openai")
    Model.objects.create(connection=connection, public_id="main/secret", upstream_id="secret")
    granted = Model.objects.create(connection=connection, public_id="main/chat", upstream_id="chat")
    Grant.objects.create(group=analysts, connection=connection, model=granted)
    return granted


def acts() -> list[str]:
    """What the audit log says happened, oldest first."""
    return list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))
