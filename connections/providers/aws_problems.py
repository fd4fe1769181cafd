"""How services of AWS say what is wrong: the error's name in a header, in JSON or in XML, the words beside it."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from connections.providers import problems, wire
from connections.providers.calls import Answer
from connections.providers.errors import KeyRefused, ProviderError

MAX_XML = 65_536
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
NAMES: Mapping[str, str] = {"ServiceQuotaExceededException": "insufficient_quota"}
"""In the words that `problems` knows whatever the status."""
STATUSES: Mapping[str, int] = {
    "AccessDenied": 403,
    "AccessDeniedException": 403,
    "ExpiredToken": 403,
    "ExpiredTokenException": 403,
    "IncompleteSignature": 403,
    "InternalServerException": 500,
    "InvalidClientTokenId": 403,
    "InvalidSignatureException": 403,
    "ModelErrorException": 424,
    "ModelNotReadyException": 503,
    "ModelStreamErrorException": 424,
    "ModelTimeoutException": 408,
    "RequestExpired": 403,
    "ResourceNotFoundException": 404,
    "ServiceUnavailableException": 503,
    "SignatureDoesNotMatch": 403,
    "Throttling": 429,
    "ThrottlingException": 429,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}
"""The status that an error's name amounts to: front doors and streams send other ones, or none."""
BAD_SIGNATURE = "AWS does not accept the signature. Check the secret access key and this machine's clock."
SENTENCES: Mapping[str, str] = {
    "AccessDeniedException": "AWS does not allow these keys to do this. Check the policies of their user or role.",
    "ExpiredToken": "The temporary AWS keys have expired. Enter new ones.",
    "ExpiredTokenException": "The temporary AWS keys have expired. Enter new ones.",
    "InvalidClientTokenId": "AWS does not know this access key ID.",
    "InvalidSignatureException": BAD_SIGNATURE,
    "SignatureDoesNotMatch": BAD_SIGNATURE,
    "UnrecognizedClientException": "AWS does not know these keys.",
}


Words = Sequence[tuple[re.Pattern[str], str]]
"""Patterns of an error's words, each with the name that `problems` knows for it."""


def named(answer: Answer, secrets: Sequence[str], words: Words = ()) -> ProviderError:
    """What an answer of 300 or more amounts to."""
    code, content = code_of(answer), _content(answer.body)
    status = _status(code, content, answer.status)
    error = problems.named(_plainly(answer, code, content, status, words), secrets)
    error.status = answer.status
    if isinstance(error, KeyRefused) and code in SENTENCES:
        retell(error, SENTENCES[code])
    return error


def retell(error: ProviderError, message: str) -> None:
    """The same error in words that fit better."""
    error.message, error.args = message, (message,)


def expired(answer: Answer) -> bool:
    """Whether the keys were refused only because their time is over."""
    return answer.status in {400, 401, 403} and code_of(answer) in EXPIRED


def code_of(answer: Answer) -> str:
    """The error's name, wherever it stands; empty where there is none."""
    content = _content(answer.body)
    told = answer.headers.get("x-amzn-errortype") or content.get("__type") or content.get("code")
    if isinstance(told, str):
        return told.partition(":")[0].rpartition("#")[2]
    return tag(answer.body, "Code")


def _status(code: str, content: Mapping[str, Any], status: int) -> int:
    status = STATUSES.get(code, status)
    if status != 424:
        return status
    original = content.get("originalStatusCode") or content.get("OriginalStatusCode")
    refused = isinstance(original, int) and 400 <= original < 500 and original not in {401, 403}
    return original if refused else 503  # type: ignore[return-value]


def _plainly(answer: Answer, code: str, content: Mapping[str, Any], status: int, words: Words) -> Answer:
    """The same in the shape that `problems` reads."""
    told = content.get("message") or content.get("Message") or tag(answer.body, "Message")[:2000]
    if not isinstance(told, str) or not told:
        return structs.replace(answer, status=status)
    name = next((name for pattern, name in words if status == 400 and pattern.search(told)), NAMES.get(code, code))
    error = {"message": told, "code": name}
    return structs.replace(answer, status=status, body=wire.encode({"error": error}))


def _content(body: bytes) -> Mapping[str, Any]:
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def tag(body: bytes, name: str) -> str:
    """The text of an element of XML, as AWS's older services answer; empty: there is none."""
    found = re.search(rf"<{name}>([^<]*)</{name}>".encode(), body[:MAX_XML])
    return html.unescape(found[1].decode(errors="replace")).strip() if found else ""
