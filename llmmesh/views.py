"""Pages of nobody in particular: the start and refusals."""

import sys

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django_htmx.middleware import HtmxDetails

from access.permissions import requires
from gateway.envelope import Problem, new_request_id
from llmmesh.context import page

PROBLEMS = {400: "invalid_value", 403: "scope_denied", 404: "not_found", 500: "internal_error", 503: "overloaded"}
"""What the error contract calls a refusal under `/api`."""


@requires()
def home(request: HttpRequest) -> HttpResponse:
    """The first page that the user's role may see."""
    for section in page(request)["rail"]:
        return redirect(section[0]["url"])
    raise Http404("This role has no page.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _refused(request, 400, "The request cannot be read.")


def forbidden(request: HttpRequest, exception: PermissionDenied) -> HttpResponse:
    return _refused(request, 403, str(exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _refused(request, 404, "There is no such address.")


def crashed(request: HttpRequest) -> HttpResponse:
    """Rendered without the request, whose user or session may be what failed."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return _without_database(request)
    if request.path.startswith("/api/"):
        return _problem(500, "Something went wrong here.")
    return HttpResponse(render_to_string("errors/500.html"), status=500)


def _without_database(request: HttpRequest) -> HttpResponse:
    """The database does not answer, or has no connection to spare."""
    if request.path.startswith("/api/"):
        return _problem(503, "The database does not answer at the moment; try again shortly.")
    return HttpResponse(render_to_string("errors/503.html"), status=503, headers={"Retry-After": "1"})


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    response = render(request, "errors/csrf.html", status=403)
    if HtmxDetails(request):
        response.headers["HX-Refresh"] = "true"  # the page is too old; afresh it brings its token, or leads to sign-in
    return response


def _refused(request: HttpRequest, status: int, reason: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        return _problem(status, reason)
    return render(request, f"errors/{status}.html", {"reason": reason}, status=status)


def _problem(status: int, reason: str) -> HttpResponse:
    request_id = new_request_id()
    problem = Problem(PROBLEMS[status], reason)
    headers = {**problem.headers(), "x-request-id": request_id}
    return HttpResponse(problem.body(request_id), status=status, content_type="application/json", headers=headers)
