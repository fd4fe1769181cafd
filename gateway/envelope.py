"""What surrounds every call of `/v1`: the request id, the caps on what is read, the error contract."""

import json
import math
from collections.abc import Mapping
from typing import NamedTuple

from connections.providers import errors
from gateway.chance import drawn

MAX_BODY = 16 * 2**20
"""Bytes of one JSON body; images travel inside it."""

HEARTBEAT = b": keep-alive\n\n"
"""A comment between the events of a stream."""


def new_request_id() -> str:
    return f"req_{drawn().hex()}"


class Kind(NamedTuple):
    """One line of the error contract's table."""

    status: int
    type: str
    retry: bool


KINDS: Mapping[str, Kind] = {
    "invalid_json": Kind(400, "invalid_request_error", False),
    "duplicate_key": Kind(400, "invalid_request_error", False),
    "invalid_value": Kind(400, "invalid_request_error", False),
    "unknown_field": Kind(400, "invalid_request_error", False),
    "context_length_exceeded": Kind(400, "invalid_request_error", False),
    "content_filter": Kind(400, "invalid_request_error", False),
    "invalid_api_key": Kind(401, "authentication_error", False),
    "expired_api_key": Kind(401, "authentication_error", False),
    "model_not_allowed": Kind(403, "permission_error", False),
    "scope_denied": Kind(403, "permission_error", False),
    "model_not_found": Kind(404, "not_found_error", False),
    "not_found": Kind(404, "not_found_error", False),
    "method_not_allowed": Kind(405, "invalid_request_error", False),
    "request_timeout": Kind(408, "invalid_request_error", True),
    "idempotency_in_flight": Kind(409, "conflict_error", True),
    "idempotency_not_kept": Kind(409, "conflict_error", False),
    "body_too_large": Kind(413, "invalid_request_error", False),
    "unsupported_encoding": Kind(415, "invalid_request_error", False),
    "idempotency_mismatch": Kind(422, "invalid_request_error", False),
    "rate_limit_exceeded": Kind(429, "rate_limit_error", True),
    "budget_exceeded": Kind(429, "rate_limit_error", False),
    "client_closed": Kind(499, "client_closed", False),
    "internal_error": Kind(500, "server_error", True),
    "interrupted": Kind(500, "server_error", True),
    "upstream_invalid_response": Kind(502, "upstream_error", True),
    "upstream_auth_error": Kind(502, "upstream_error", False),
    "upstream_tls_error": Kind(502, "upstream_error", False),
    "overloaded": Kind(503, "overloaded_error", True),
    "upstream_unavailable": Kind(503, "overloaded_error", True),
    "shutting_down": Kind(503, "overloaded_error", True),
    "upstream_timeout": Kind(504, "upstream_error", True),
}

CODE_OF: Mapping[type[errors.ProviderError], str] = {
    errors.KeyRefused: "upstream_auth_error",
    errors.QuotaSpent: "upstream_auth_error",
    errors.ModelMissing: "model_not_found",
    errors.ContextTooLong: "context_length_exceeded",
    errors.ContentFiltered: "content_filter",
    errors.RequestRefused: "invalid_value",
    errors.BadReply: "upstream_invalid_response",
    errors.AddressRefused: "upstream_auth_error",
    errors.TLSFailed: "upstream_tls_error",
    errors.RateLimited: "rate_limit_exceeded",
    errors.TimedOut: "upstream_timeout",
    errors.Temporary: "upstream_unavailable",
    errors.ProviderError: "upstream_invalid_response",
}
"""A subclass that is not listed goes by its nearest listed ancestor."""


class Problem(Exception):
    """A call that ends without success. `message` is for humans: no internals, no secret, no upstream host."""

    def __init__(self, code: str, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message[:500]
        self.param = param
        self.status, self.type, self.retry = KINDS[code]
        self.allow = ""
        """The method that the address takes, for one that it does not take."""
        self.retry_after = retry_after if retry_after is not None else (1.0 if self.status in {429, 503} else None)

    @classmethod
    def of(cls, error: Exception) -> "Problem":
        """A failure as our caller may see it."""
        if isinstance(error, Problem):
            return error
        if not isinstance(error, errors.ProviderError):
            return cls("internal_error", "Something went wrong inside.")
        code = next(CODE_OF[kind] for kind in type(error).__mro__ if kind in CODE_OF)
        param = error.parameter if isinstance(error, errors.RequestRefused) else None
        return cls(code, error.for_caller, param=param, retry_after=error.retry_after)

    @classmethod
    def wrong_method(cls, method: str, allow: str) -> "Problem":
        problem = cls("method_not_allowed", f"This address does not take {method[:20]}.")
        problem.allow = allow
        return problem

    @classmethod
    def no_such_model(cls) -> "Problem":
        """Also said of a model that others may use: who may not, need not learn that it exists."""
        return cls("model_not_found", "There is no such model for you; GET /v1/models lists yours.", param="model")

    def body(self, request_id: str) -> bytes:
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
            "request_id": request_id,
        }
        return json.dumps({"error": error}, ensure_ascii=False).encode("utf-8", "replace")

    @property
    def ends_connection(self) -> bool:
        """Whether the client shall ask on another connection, where another process may answer."""
        return self.code == "shutting_down"

    def headers(self) -> dict[str, str]:
        found = {"x-should-retry": "true" if self.retry else "false"}
        if self.retry_after is not None:
            found["retry-after"] = str(math.ceil(self.retry_after))
        if self.status == 401:
            found["www-authenticate"] = "Bearer"
        if self.allow:
            found["allow"] = self.allow
        return found
