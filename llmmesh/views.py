"""Pages of nobody in particular: the start, refusals, and the process endpoints."""

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django_htmx.middleware import HtmxDetails
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from access.permissions import public, requires
from gateway.envelope import Problem, new_request_id
from llmmesh.context import page

PROBLEMS = {400: "invalid_value", 403: "scope_denied", 404: "not_found", 500: "internal_error"}
"""What the error contract calls a refusal under `/api`."""


@requires()
def home(request: HttpRequest) -> HttpResponse:
    """The first page that the user's role may see."""
    for section in page(request)["rail"]:
        return redirect(section[0]["url"])
    raise Http404("This role has no page.")


@public
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers; nothing else is asked, so that a provider's fault never restarts us."""
    return JsonResponse({"status": "ok"})


@public
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether this process can serve: the database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "unavailable", "cause": "The database does not answer."}, status=503)
    return JsonResponse({"status": "ok"})


@public
def metrics(request: HttpRequest) -> HttpResponse:
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _refused(request, 400, "The request cannot be read.")


def forbidden(request: HttpRequest, exception: PermissionDenied) -> HttpResponse:
    return _refused(request, 403, str(exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _refused(request, 404, "There is no such address.")


def crashed(request: HttpRequest) -> HttpResponse:
    """Rendered without the request, whose user or session may be what failed."""
    if request.path.startswith("/api/"):
        return _problem(500, "Something went wrong here.")
    return HttpResponse(render_to_string("errors/500.html"), status=500)


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
    body = Problem(PROBLEMS[status], reason).body(request_id)
    headers = {"x-request-id": request_id, "x-should-retry": "false"}
    return HttpResponse(body, status=status, content_type="application/json", headers=headers)
