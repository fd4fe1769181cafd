"""All routes × all roles: what happens is what the route declares (A2)."""

from typing import Any

import pytest
from rest_framework.permissions import OperandHolder

from access.models import User
from access.permissions import AllowAny
from access.roles import Permission, Role, Scope
from tests.access.routes import API, PAGES
from tests.conftest import make_user


def outcome(response) -> str:
    if response.status_code == 302 and response["Location"].startswith("/accounts/login/?next="):
        return "asked to sign in"
    return {401: "asked for a key", 403: "refused"}.get(response.status_code, "let in")


def may_read(user: User, permission: Any) -> bool:
    """Whether an API permission, or one of the ways it offers, is open to the user's role."""
    if isinstance(permission, OperandHolder):
        return may_read(user, permission.op1_class) or may_read(user, permission.op2_class)
    ways = getattr(permission, "ways", (permission,))
    return permission is AllowAny or any(user.may(way.declared[0]) for way in ways)


@pytest.fixture
def visit(client):
    """GET, or POST where only that is allowed."""

    def go(route):
        response = client.get(route.path)
        return client.post(route.path) if response.status_code == 405 else response

    return go


@pytest.mark.parametrize("route", PAGES, ids=str)
def test_a_page_asks_strangers_to_sign_in(db, visit, route):
    expected = "let in" if route.declared == "public" else "asked to sign in"

    assert outcome(visit(route)) == expected


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("route", PAGES, ids=str)
def test_a_page_lets_in_the_roles_it_declares(db, client, visit, route, role):
    user = make_user("someone", role)
    client.force_login(user)
    refused = isinstance(route.declared, Permission) and not user.may(route.declared)

    response = visit(route) if refused else client.get(route.path)

    assert outcome(response) == ("refused" if refused else "let in")


@pytest.mark.parametrize("route", API, ids=str)
def test_the_api_asks_strangers_for_a_key(db, client, route):
    expected = "let in" if route.permission_classes == [AllowAny] else "asked for a key"

    assert outcome(client.get(route.path)) == expected


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("route", API, ids=str)
def test_the_api_lets_in_the_roles_it_declares(db, client, key_for, route, role):
    user = make_user("someone", role)
    headers = {"Authorization": f"Bearer {key_for(user)}"}

    response = client.get(route.path, headers=headers)

    assert outcome(response) == ("let in" if may_read(user, route.permission_classes[0]) else "refused")


@pytest.mark.parametrize("route", [route for route in API if route.permission_classes != [AllowAny]], ids=str)
def test_the_api_takes_no_cookies(client, ada, route):
    client.force_login(ada)

    assert outcome(client.get(route.path)) == "asked for a key"


@pytest.mark.parametrize("name", ["api-user-list", "api-group-list", "api-audit-list"])
def test_a_key_without_the_scope_is_refused(client, ada, key_for, name):
    route = next(route for route in API if route.name == name)
    headers = {"Authorization": f"Bearer {key_for(ada, [Scope.GENERATE])}"}

    assert outcome(client.get(route.path, headers=headers)) == "refused"
