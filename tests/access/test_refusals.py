"""Error pages: a person gets a page with a way on, a program the error contract."""

import pytest
from django.core.exceptions import SuspiciousOperation
from django.db import OperationalError
from django.http import HttpRequest
from django.urls import path

from access.permissions import public
from llmmesh.urls import handler400, handler403, handler404, handler500, urlpatterns  # noqa: F401 - Django reads them
from tests.conftest import make_user


@public
def suspect(request: HttpRequest) -> None:
    raise SuspiciousOperation("A cookie was forged.")


@public
def lack(request: HttpRequest) -> None:
    raise OperationalError("no connection to secret detail")


@public
def crash(request: HttpRequest) -> None:
    raise ZeroDivisionError("secret detail")


urlpatterns = [
    *urlpatterns,
    path("suspect/", suspect),
    path("crash/", crash),
    path("lack/", lack),
    path("api/lack/", lack),
    path("api/suspect/", suspect),
    path("api/crash/", crash),
]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture
def visitor(client, db):
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize(("address", "status"), [("suspect", 400), ("nothing", 404), ("crash", 500), ("lack", 503)])
def test_a_person_gets_a_page(visitor, address, status):
    response = visitor.get(f"/{address}/")

    page = response.content.decode()
    assert response.status_code == status
    assert page.count("<h1>") == 1 and 'href="/"' in page
    assert "secret detail" not in page and "forged" not in page


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("suspect", 400, "invalid_value"),
        ("nothing", 404, "not_found"),
        ("crash", 500, "internal_error"),
        ("lack", 503, "overloaded"),
    ],
)
def test_a_program_gets_the_contract(visitor, address, status, code):
    response = visitor.get(f"/api/{address}/")

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert response["x-request-id"] == error["request_id"]
    assert "secret detail" not in response.content.decode()


def test_a_refusal_names_the_role(alice, signed_in):
    page = signed_in(alice).get("/users/").content.decode()

    assert "Your role Analyst does not allow it." in page


@pytest.mark.parametrize("path", ["/accounts/login/", "/nothing/"])
def test_every_answer_forbids_inline_scripts_and_frames(visitor, path):
    policy = visitor.get(path)["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert "script-src 'self'" in policy and "frame-ancestors 'none'" in policy and "default-src 'none'" in policy


@pytest.mark.parametrize(
    ("role", "page"),
    [("admin", "/playground/"), ("operator", "/playground/"), ("analyst", "/playground/"), ("auditor", "/models/")],
)
def test_the_start_page_is_one_that_the_role_may_see(db, client, role, page):
    client.force_login(make_user("someone", role))

    assert client.get("/")["Location"] == page
    assert client.get(page).status_code == 200
