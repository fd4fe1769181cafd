"""Requests that have passed `@requires` or `Allows`, and the methods that they may use."""

from typing import TYPE_CHECKING

from django.http import HttpRequest, QueryDict
from django.views.decorators.http import require_http_methods
from django_htmx.middleware import HtmxDetails
from rest_framework.request import Request

from access.models import User
from access.principal import Principal

takes_form = require_http_methods(["GET", "HEAD", "POST"])
"""On a view that shows a form and takes it."""
API_METHODS = ["get", "post", "patch", "delete", "head", "options"]
"""Of a viewset: a change names only what it changes, so there is no PUT."""


class PageRequest(HttpRequest):
    """A page's request: somebody is signed in."""

    user: User
    htmx: HtmxDetails


class KeyRequest(Request):
    """An API request: a key was presented, and this is its owner."""

    if TYPE_CHECKING:
        user: User
        auth: Principal


def posted(request: HttpRequest) -> QueryDict | None:
    """What a form is bound to: an empty form that was sent is not an unsent one."""
    return request.POST if request.method == "POST" else None
