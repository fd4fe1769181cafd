"""Every route says who may use it: `@requires(...)` or `@public` on a view, `Allows(...)` on the API.

`tests/access/test_routes.py` walks all routes and fails on one that says nothing.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails
from rest_framework import permissions
from rest_framework.request import Request

from access.models import User
from access.principal import Principal
from access.roles import Permission, Scope

View = Callable[..., Any]


def public(view: View) -> View:
    """Anybody may call this, signed in or not."""
    view.permission = "public"  # type: ignore[attr-defined]
    return view


def requires(permission: Permission | None = None) -> Callable[[View], View]:
    """Only signed-in users whose role has `permission`; None: any signed-in user."""

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):

            @wraps(view)
            async def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
                request.user = await request.auser()  # the view's body must not touch the lazy one
                refusal = await sync_to_async(_refusal)(request, permission)
                return refusal or await view(request, *args, **kwargs)
        else:

            @wraps(view)
            def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
                return _refusal(request, permission) or view(request, *args, **kwargs)

        guarded.permission = permission or "signed in"  # type: ignore[attr-defined]
        return guarded

    return decorate


def _refusal(request: HttpRequest, permission: Permission | None) -> HttpResponse | None:
    user = request.user
    if not user.is_authenticated:
        return _to_sign_in(request)
    if permission is not None and not user.may(permission):
        raise PermissionDenied(f"Your role {user.get_role_display()} does not allow it.")
    return None


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    """The whole page goes there, also when only a part of it was asked for, and comes back afterwards."""
    htmx = HtmxDetails(request)
    if not htmx:
        return redirect_to_login(request.get_full_path())
    return HttpResponseClientRedirect(redirect_to_login(htmx.current_url_abs_path or "/").url)


class DenyAll(permissions.BasePermission):
    """The default of the API: a view that declares nothing is closed."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return False


class AllowAny(permissions.AllowAny):
    """For the few API pages without data: the schema and its documentation."""


def Allows(  # noqa: N802 - reads as a class where it is used
    permission: Permission, *, write: Permission | None = None, scope: Scope | None = None
) -> type[permissions.BasePermission]:
    """API permission: `permission` to read, `write` (default: the same) to change.

    The key needs the scope `read` or `manage` accordingly, or `scope` where it is given.
    """

    class Allowed(permissions.BasePermission):
        declared = (permission, write or permission)

        def has_permission(self, request: Request, view: Any) -> bool:
            safe = request.method in permissions.SAFE_METHODS
            needed = scope or (Scope.READ if safe else Scope.MANAGE)
            return (
                isinstance(request.auth, Principal)
                and isinstance(request.user, User)
                and needed in request.auth.scopes
                and request.user.may(permission if safe else write or permission)
            )

    return Allowed
