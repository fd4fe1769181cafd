"""How `/api` knows its callers: API keys only, never cookies."""

from dataclasses import replace
from typing import Any, Protocol

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, ParseError
from rest_framework.request import Request

from access import keys
from access.models import User
from access.principal import Principal


def presented(headers: list[tuple[str, str]]) -> str | None:
    """The one key that a request presents; None: none. Two different ones are refused with ValueError.

    `headers`: (lower-case name, value) pairs, repetitions included. Shared by `/v1` and `/api`.
    """
    found = set()
    for name, value in headers:
        if name == "x-api-key":
            found.add(value.strip())
        elif name == "authorization":
            scheme, _, credential = value.strip().partition(" ")
            found.add(credential.strip() if scheme.lower() == "bearer" else "")
    if len(found) > 1:
        raise ValueError("The request carries two different credentials; send one.")
    return found.pop() if found else None


class KeyColumns(Protocol):
    """A key, or a row with these columns of it."""

    public_id: str
    scopes: Any
    allowed_models: Any


def narrowed(owner: Principal, key: KeyColumns) -> Principal:
    """The owner's rights, cut down to the key's."""
    return replace(
        owner,
        key_id=key.public_id,
        scopes=frozenset(key.scopes),
        allowed_models=frozenset(key.allowed_models) if key.allowed_models else None,
    )


class ApiKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, Principal] | None:
        names = {"HTTP_AUTHORIZATION": "authorization", "HTTP_X_API_KEY": "x-api-key"}
        try:
            key = presented([(names[name], value) for name, value in request.META.items() if name in names])
        except ValueError as error:
            raise ParseError(str(error)) from error
        if key is None:
            return None
        row = keys.find(key)
        if row is None:
            raise AuthenticationFailed("This API key is not valid here.")
        keys.note_use(keys.due({row.public_id}))
        return row.owner, narrowed(row.owner.principal, row)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
