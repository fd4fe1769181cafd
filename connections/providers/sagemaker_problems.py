"""How SageMaker says what is wrong, and how it passes on what the container said."""

from collections.abc import Sequence
from typing import Any

import msgspec

from connections.providers import aws_problems, problems, text_generation
from connections.providers.calls import Answer, Frame
from connections.providers.errors import KeyRefused, ProviderError, ServerFailed, TimedOut
from connections.providers.scrubbing import scrub
from connections.providers.shapes import mapping, string

CONTAINER_FAILED = "The endpoint's container failed to answer. Its log in CloudWatch says why."
STREAM_ERRORS = {"ModelInvocationTimeExceeded": TimedOut}
NOT_READY = "The endpoint, or its inference component, is not ready yet. Try again later."


def named(answer: Answer, secrets: Sequence[str]) -> ProviderError:
    """What an answer of 300 or more amounts to."""
    if answer.status == 424:
        return _of_container(answer, secrets)
    error = aws_problems.named(answer, secrets)
    if aws_problems.code_of(answer) == "ModelNotReadyException":
        aws_problems.retell(error, NOT_READY)
    return error


def in_stream(frame: Frame, secrets: Sequence[str]) -> ProviderError:
    """What an exception inside a stream amounts to."""
    kind = frame.event.partition(":")[2]
    content = mapping(_decoded(frame.data))
    words = string(content, "Message") or string(content, "message") or frame.data.decode(errors="replace")
    made = STREAM_ERRORS.get(string(content, "ErrorCode"), ServerFailed)
    return made(problems.SENTENCES[made], evidence=scrub(f"{kind}: {words[: problems.MAX_READ]}", secrets))


def _of_container(answer: Answer, secrets: Sequence[str]) -> ProviderError:
    """The container refused or failed: who must act follows from its own status and words."""
    content = mapping(_decoded(answer.body))
    status = content.get("OriginalStatusCode")
    status = status if isinstance(status, int) and 400 <= status < 600 else 500
    said = string(content, "OriginalMessage") or string(content, "Message")
    error = text_generation.problem(Answer(status, {}, said.encode(errors="replace")), secrets)
    if isinstance(error, KeyRefused | ServerFailed):
        error = ServerFailed(CONTAINER_FAILED, evidence=error.evidence)
    error.status = answer.status
    return error


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
