"""What every request's user is checked for, and what the audit log notes about the request."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin
from structlog.contextvars import bind_contextvars

from access.models import User
from access.roles import Role

STARTED, SEEN = "started_at", "seen_at"
"""Where a session notes, in seconds since 1970, its sign-in and its last use."""
ADMIN_IDLE = 30 * 60
NOTED_EVERY = 60
"""Seconds; a session is not written on each request."""


class SessionLimits(MiddlewareMixin):
    """Ends a session twelve hours after its sign-in, an admin's after half an hour without use."""

    def process_request(self, request: HttpRequest) -> None:
        bind_contextvars(address=request.META.get("REMOTE_ADDR") or None)
        if isinstance(request.user, User):
            self._check(request, request.user)

    def _check(self, request: HttpRequest, user: User) -> None:
        now, session = int(timezone.now().timestamp()), request.session
        age = now - session.setdefault(STARTED, now)
        idle = now - session.setdefault(SEEN, now)
        if age > settings.SESSION_COOKIE_AGE or (user.role == Role.ADMIN and idle > ADMIN_IDLE):
            logout(request)
            messages.info(request, "Your session has ended. Sign in again.")
        elif idle > NOTED_EVERY:
            session[SEEN] = now
