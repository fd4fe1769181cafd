"""What every refusal of `/v1` has in common."""

import re
from typing import Any

from tests.mesh import MODELS, Answer
from tests.upstream.server import KEY

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "overloaded_error",
    504: "upstream_error",
}
FIELDS = {"message", "type", "param", "code", "request_id"}
REQUEST_ID = re.compile("[A-Za-z0-9_-]{1,64}")
SECRET_PIECES = [KEY[start : start + 12] for start in range(len(KEY) - 11)]


def chat(dialect: str = "openai", text: str = "one two three", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": f"{dialect}/{MODELS[dialect]}", "messages": messages, **fields}


def check_refusal(answer: Answer, status: int, code: str, param: str | None = None) -> None:
    """The answer is an error of the contract, and gives nothing away."""
    assert (answer.status, answer.error["code"]) == (status, code), answer.body[:300]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-should-retry"] in {"true", "false"}
    assert answer.headers["x-request-id"] == answer.error["request_id"]
    if status in {409, 429, 503} and answer.headers["x-should-retry"] == "true":
        assert answer.headers["retry-after"].isdigit()
    check_error(answer.error, status)
    check_discreet(answer)
    if param is not None:
        assert answer.error["param"] == param


def check_error(error: dict[str, Any], status: int) -> None:
    assert set(error) == FIELDS
    assert error["type"] == TYPES[status]
    assert 0 < len(error["message"]) <= 500
    assert REQUEST_ID.fullmatch(error["request_id"])
    assert "127.0.0.1" not in error["message"]
    assert "Traceback" not in error["message"]


def check_discreet(answer: Answer) -> None:
    """No piece of the upstream's key is anywhere in the answer."""
    said = repr(answer.headers) + answer.body.decode("utf-8", "replace")
    assert not [piece for piece in SECRET_PIECES if piece in said]
