"""How django-allauth behaves here: local accounts that admins make; nobody signs up."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import resolve_url

from access import services
from access.models import User
from access.requests import PageRequest


class AccountAdapter(DefaultAccountAdapter):
    error_messages = DefaultAccountAdapter.error_messages | dict.fromkeys(
        ("username_password_mismatch", "email_password_mismatch"), "The name or the password is wrong."
    )

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """The user; a disabled one is refused like a wrong password."""
        user: User | None = super().authenticate(request, **credentials)
        if user is not None and user.is_active:
            return user
        services.refuse_session(credentials.get("username") or credentials.get("email") or "")
        return None

    def login(self, request: HttpRequest, user: User) -> None:
        super().login(request, user)
        services.start_session(user)

    def logout(self, request: PageRequest) -> None:
        """Signing out ends the user's sessions on every device."""
        services.end_session(request.user)
        super().logout(request)

    def set_password(self, user: User, password: str) -> None:
        services.change_own_password(user, password)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return resolve_url(settings.LOGIN_URL)
