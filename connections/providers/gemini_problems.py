"""Errors as all of Google's services tell them: a status in words, and details that say why and for how long."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connections.providers import problems
from connections.providers.calls import Answer
from connections.providers.errors import KeyRefused, ProviderError, QuotaSpent, RequestRefused, Temporary

KEY_REASONS = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED"})
"""Told with status 400."""
SWITCHED_OFF = frozenset({"SERVICE_DISABLED", "API_KEY_SERVICE_BLOCKED"})
SENTENCES: Mapping[str, str] = {
    "SERVICE_DISABLED": "The project has this API switched off. Enable it in the Google console.",
    "API_KEY_SERVICE_BLOCKED": "The key may not be used for this API. Change its restrictions in the Google console.",
    "BILLING_DISABLED": "The project has no billing account. Link one in the Google console.",
    "CONSUMER_SUSPENDED": "Google has suspended the project.",
    "IAM_PERMISSION_DENIED": "The account lacks a permission in this project. Give it the role Vertex AI User.",
}
KINDS: Mapping[str, type[ProviderError]] = {
    **dict.fromkeys(KEY_REASONS, KeyRefused),
    **dict.fromkeys(SWITCHED_OFF, KeyRefused),
    "BILLING_DISABLED": QuotaSpent,
    "CONSUMER_SUSPENDED": KeyRefused,
    "IAM_PERMISSION_DENIED": KeyRefused,
}
"""By `reason`, at any status."""


def named(answer: Answer, secrets: Sequence[str]) -> ProviderError:
    """What an answer of 300 or more amounts to."""
    content = _content(answer.body)
    if isinstance(content, list) and content:  # a stream that failed before it began
        answer = Answer(answer.status, answer.headers, msgspec.json.encode(content[0]))
        content = content[0]
    error, details = problems.named(answer, secrets), _details(content)
    reason = next((name for detail in details if (name := detail.get("reason")) in KINDS), "")
    if reason:
        kind = KINDS[reason]
        words = SENTENCES.get(reason, problems.SENTENCES[kind])
        return kind(words, evidence=error.evidence, status=answer.status)
    if answer.status == 499:
        return RequestRefused("Google says that the request was cancelled.", evidence=error.evidence, status=499)
    if isinstance(error, Temporary) and error.retry_after is None:
        error.retry_after = _delay(details)
    return error


def _content(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _details(content: Any) -> list[Mapping[str, Any]]:
    error = content.get("error") if isinstance(content, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _delay(details: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds, which the details write as `12s` or `0.5s`."""
    told = next((detail["retryDelay"] for detail in details if isinstance(detail.get("retryDelay"), str)), "")
    return problems.retry_after({"retry-after": told.removesuffix("s")}) if told else None
