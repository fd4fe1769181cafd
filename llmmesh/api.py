"""What all of `/api` shares: strict JSON, the error contract, paging by key."""

import json
import math
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError
from django.http import Http404
from django_filters import CharFilter
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import exceptions, status
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error

from gateway import strict_json
from gateway.envelope import KINDS, Problem, new_request_id

MAX_BODY = 8 * 2**20


class JSONParser(BaseParser):
    """Reads the body itself, chunked ones too, and refuses what is not plain, finite, storable JSON."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise exceptions.ParseError(f"The body is larger than {MAX_BODY} bytes.", code="body_too_large")
        try:
            return strict_json.loads(body)
        except ValueError as error:
            raise exceptions.ParseError(f"The body is not valid JSON: {error}.", code="invalid_json") from error


class FilterBackend(DjangoFilterBackend):
    """Refuses a filter without a value. Pages pass over it, because a form sends all of its fields."""

    def get_filterset(self, request: Request, queryset: Any, view: Any) -> Any:
        filterset = super().get_filterset(request, queryset, view)
        for name, one in filterset.filters.items() if filterset else ():
            if request.query_params.get(name) == "" and not isinstance(one, CharFilter):
                raise exceptions.ValidationError({name: ["Give it a value, or leave it out."]})
        return filterset


class KeysetPagination(CursorPagination):
    """Pages by key, never by offset; a view may name its own order in `page_ordering`."""

    page_size_query_param = "page_size"
    max_page_size = 500

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        try:
            return super().paginate_queryset(queryset, request, view)
        except ValueError as error:  # a cursor that this list never gave out
            raise exceptions.NotFound(self.invalid_cursor_message) from error

    def get_page_size(self, request: Request) -> int:
        given = request.query_params.get(self.page_size_query_param)
        if given is None:
            return self.page_size or self.max_page_size
        size = int(given[:9]) if given.isascii() and given.isdigit() else 0
        if not 0 < size <= self.max_page_size:
            said = f"This must be a whole number from 1 to {self.max_page_size}."
            raise exceptions.ValidationError({self.page_size_query_param: [said]})
        return size

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] |= {"minimum": 1, "maximum": self.max_page_size}
        return parameters

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        return getattr(view, "page_ordering", ("-pk",))


TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
CODES = {401: "invalid_api_key", 403: "scope_denied", 404: "not_found", 409: "conflict", 429: "rate_limit_exceeded"}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Every refusal in the contract's shape; a field's name stands in `param`."""
    request_id = new_request_id()
    if isinstance(error, Problem):
        body = json.loads(error.body(request_id))
        return Response(body, status=error.status, headers={**error.headers(), "x-request-id": request_id})
    if isinstance(error, Http404):
        error = exceptions.NotFound("There is no such object, or it is not yours.")
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied(str(error) or None)
    elif isinstance(error, ValidationError):
        error = exceptions.ValidationError(as_serializer_error(error))
    elif isinstance(error, OverflowError | DataError):
        error = exceptions.ValidationError("A value is beyond what can be stored.")
    if not isinstance(error, exceptions.APIException):
        return None
    param, message, code = _first(error.get_full_details())
    known = CODES.get(error.status_code) or (code if code in KINDS or error.status_code != 400 else "invalid_value")
    body = {
        "message": message[:500],
        "type": TYPES.get(error.status_code, "invalid_request_error" if error.status_code < 500 else "server_error"),
        "param": param,
        "code": known,
        "request_id": request_id,
    }
    headers = {"x-request-id": request_id, "x-should-retry": "false"}
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        headers["WWW-Authenticate"] = "Bearer"
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(math.ceil(wait))
    return Response({"error": body}, status=error.status_code or status.HTTP_400_BAD_REQUEST, headers=headers)


def _first(details: Any, param: str | None = None) -> tuple[str | None, str, str]:
    """The first refusal in DRF's nested details: (field, message, code)."""
    if isinstance(details, list):
        return _first(next((item for item in details if item), {"message": "Invalid.", "code": "invalid"}), param)
    if {"message", "code"} == set(details):
        return param, str(details["message"]), str(details["code"])
    name, inner = next(iter(details.items()))
    return _first(inner, param if name == "non_field_errors" else f"{param}.{name}" if param else str(name))
