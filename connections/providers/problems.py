"""Which named error a provider's refusal amounts to, in words that hold no secret."""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from connections.providers.calls import Answer
from connections.providers.errors import (
    BadReply,
    ContentFiltered,
    ContextTooLong,
    KeyRefused,
    ModelMissing,
    Overloaded,
    ProviderError,
    QuotaSpent,
    RateLimited,
    RequestRefused,
    ServerFailed,
    Temporary,
    TimedOut,
)
from connections.providers.scrubbing import scrub

MAX_RETRY_AFTER = 3600.0
MAX_READ = 4096
NO_SUCH_ROUTE = frozenset({404, 405, 501})
"""What servers answer that lack a route, such as a list of models: the key was not refused."""

SENTENCES: Mapping[type[ProviderError], str] = {
    KeyRefused: "The provider refused the connection's key.",
    QuotaSpent: "The connection's account at the provider has no credit left.",
    ModelMissing: "The provider does not know this model.",
    ContextTooLong: "The prompt is longer than the model can take.",
    ContentFiltered: "The provider's content policy refused the request.",
    RequestRefused: "The provider refused the request.",
    RateLimited: "The provider's rate limit is reached. Try again later.",
    Overloaded: "The provider is overloaded. Try again later.",
    ServerFailed: "The provider failed to answer. Try again later.",
    TimedOut: "The provider took too long to answer.",
    BadReply: "The provider answered in a form we cannot read.",
}

NAMES_AT_ANY_STATUS: Mapping[str, type[ProviderError]] = {
    "insufficient_quota": QuotaSpent,
    "billing_error": QuotaSpent,
    "billing_hard_limit_reached": QuotaSpent,
    "billing_not_active": QuotaSpent,
    "model_not_found": ModelMissing,
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "content_filter": ContentFiltered,
    "contentFilter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
    "image_content_policy_violation": ContentFiltered,
    "moderation_blocked": ContentFiltered,
    "bio_policy": ContentFiltered,
    "misalignment_policy_violation": ContentFiltered,
}
NAMES_WITHOUT_STATUS: Mapping[str, type[ProviderError]] = {
    "invalid_api_key": KeyRefused,
    "authentication_error": KeyRefused,
    "permission_error": KeyRefused,
    "not_found_error": ModelMissing,
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "overloaded_error": Overloaded,
    "unavailable_error": Overloaded,
    "timeout_error": TimedOut,
    "invalid_request_error": RequestRefused,
    "invalid_prompt": RequestRefused,
    "invalid_image": RequestRefused,
    "invalid_image_format": RequestRefused,
    "invalid_image_url": RequestRefused,
    "invalid_base64_image": RequestRefused,
    "image_too_large": RequestRefused,
    "image_too_small": RequestRefused,
    "image_parse_error": RequestRefused,
    "failed_to_download_image": RequestRefused,
}
STATUSES: Mapping[int, type[ProviderError]] = {
    401: KeyRefused,
    402: QuotaSpent,
    403: KeyRefused,
    404: ModelMissing,
    408: TimedOut,
    409: Overloaded,
    425: Overloaded,
    429: RateLimited,
    501: RequestRefused,
    503: Overloaded,
    504: TimedOut,
    529: Overloaded,
}
TOO_LONG = re.compile(r"maximum context length|context length exceeded|prompt is too long", re.IGNORECASE)
"""Some servers tell it in words only."""


def named(answer: Answer, secrets: Sequence[str]) -> ProviderError:
    """What an answer of 300 or more amounts to."""
    said = _said(answer.body)
    kind = _kind(said, answer.status)
    error = _error(kind, said, secrets, answer.status)
    if isinstance(error, Temporary):
        error.retry_after = retry_after(answer.headers)
        error.retryable = not said.final and answer.headers.get("x-should-retry") != "false"
    return error


def inside(content: Any, secrets: Sequence[str]) -> ProviderError:
    """What an error object amounts to that came with HTTP 200: `content` is the whole decoded JSON."""
    said = _in_json(content)
    names = [NAMES_WITHOUT_STATUS[name] for name in said.names if name in NAMES_WITHOUT_STATUS]
    kind = _kind(said, said.status) if said.status else next(iter(_by_name(said) + names), ServerFailed)
    return _error(kind, said, secrets, None)


def unreadable(body: bytes, secrets: Sequence[str]) -> BadReply:
    """An answer that is not what was asked for: a login page, nothing, half of it."""
    return BadReply(SENTENCES[BadReply], evidence=scrub(_as_text(body), secrets) or "The answer was empty.")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as `retry-after-ms` or `retry-after` say; what makes no sense is ignored."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    text = headers.get("retry-after", "")
    seconds = milliseconds / 1000 if milliseconds is not None else _number(text)
    if seconds is None:
        seconds = _seconds_until(text, headers.get("date", ""))
    return None if seconds is None or seconds < 0 else min(seconds, MAX_RETRY_AFTER)


# --- the provider's words --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Said:
    """What an error body says."""

    text: str = ""
    names: tuple[str, ...] = ()
    """Its code and type, the more exact one first."""
    parameter: str | None = None
    status: int = 0
    """An HTTP status inside the body."""
    final: bool = False
    """Waiting does not help, whatever the status."""
    structured: bool = False


def _said(body: bytes) -> _Said:
    try:
        return _in_json(msgspec.json.decode(body))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _Said(_as_text(body))


def _in_json(content: Any) -> _Said:
    if not isinstance(content, dict):
        return _Said(_as_text(msgspec.json.encode(content)))
    error = content.get("error")
    error = error if isinstance(error, dict) else content
    code, details = error.get("code"), error.get("details")
    detail = details.get("error_code") if isinstance(details, dict) else None
    text = next(_texts(content), "")
    return _Said(
        text=text or _as_text(msgspec.json.encode(content)),
        names=tuple(name for name in (detail, code, error.get("type")) if isinstance(name, str)),
        parameter=error["param"] if isinstance(error.get("param"), str) else None,
        status=code if isinstance(code, int) and 400 <= code < 600 else 0,
        final=isinstance(detail, str),
        structured=bool(text),
    )


def _texts(content: Mapping[str, Any]) -> Iterator[str]:
    """The places where providers put their words, in the order of trust."""
    for path in _PLACES:
        found: Any = content
        for step in path:
            if isinstance(found, Mapping):
                found = found.get(step)
            else:
                found = found[0] if isinstance(found, list) and found and step == 0 else None
        if isinstance(found, str) and found.strip():
            yield _one_line(found)


_PLACES: Sequence[Sequence[str | int]] = (
    ("error", "message"),
    ("error",),
    ("message",),
    ("detail",),
    ("detail", 0, "msg"),
    ("detail", "error", "message"),
    ("title",),
    ("status", "description"),
    ("errors", 0, "message"),
    ("errors", 0),
)


def _as_text(body: bytes) -> str:
    """Raw words, for instance of a proxy's HTML page, without its tags."""
    text = body[:MAX_READ].decode(errors="replace")
    return _one_line(_TAGS.sub(" ", text))


def _one_line(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text[:MAX_READ]).split())


_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_URL = re.compile(r"\(?\bhttps?://\S+", re.IGNORECASE)


# --- naming ----------------------------------------------------------------------------------------------


def _kind(said: _Said, status: int) -> type[ProviderError]:
    for kind in _by_name(said):
        return kind
    if status in STATUSES:
        return STATUSES[status]
    if status < 400:
        return BadReply
    if status >= 500:
        return ServerFailed
    return ContextTooLong if TOO_LONG.search(said.text) else RequestRefused


def _by_name(said: _Said) -> list[type[ProviderError]]:
    return [NAMES_AT_ANY_STATUS[name] for name in said.names if name in NAMES_AT_ANY_STATUS]


def _error(kind: type[ProviderError], said: _Said, secrets: Sequence[str], status: int | None) -> ProviderError:
    evidence = scrub(said.text, secrets)
    error = kind(SENTENCES[kind], evidence=evidence or f"HTTP {status}", status=status)
    if isinstance(error, RequestRefused):
        error.parameter = said.parameter
        if kind is not ModelMissing and said.structured:
            error.quote = _URL.sub("", evidence)[:300]
    return error


# --- waiting ---------------------------------------------------------------------------------------------


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _seconds_until(text: str, date: str) -> float | None:
    """`text` as an HTTP date, seen from the provider's own clock where it tells the time."""
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        now = time.time()
    return until - now
