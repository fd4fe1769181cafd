"""Every route declares who may use it (A1)."""

import pytest
from django.http import HttpResponse
from django.urls import path
from rest_framework.views import APIView

from tests.access.routes import API, PAGES, ROUTES, routes


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_route_declares_who_may_use_it(route):
    assert route.declared is not None


def test_the_walk_finds_pages_and_api():
    names = {route.name for route in ROUTES}

    assert {"home", "account_login", "users", "keys", "audit"} <= names
    assert {"api-user-list", "api-key-detail", "api-audit-list", "api-schema"} <= names
    assert PAGES and API


def test_a_route_without_a_declaration_is_found():
    class Closed(APIView):
        pass

    patterns = [path("page/", lambda request: HttpResponse(), name="page"), path("api/", Closed.as_view(), name="api")]

    assert [route.declared for route in routes(patterns)] == [None, None]
