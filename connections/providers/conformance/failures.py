"""Errors, and garbage of all kinds."""

import json
import random
from collections.abc import Mapping
from typing import Any

from connections.providers import errors
from connections.providers.calls import Answer, Frame, Mode
from connections.providers.conformance.demands import Skipped, demand, equal, only_provider_errors, raises
from connections.providers.conformance.golden import Golden

STATUSES: Mapping[int, type[errors.ProviderError]] = {
    302: errors.BadReply,
    400: errors.RequestRefused,
    401: errors.KeyRefused,
    402: errors.QuotaSpent,
    403: errors.KeyRefused,
    404: errors.ModelMissing,
    408: errors.TimedOut,
    413: errors.RequestRefused,
    418: errors.RequestRefused,
    422: errors.RequestRefused,
    429: errors.RateLimited,
    500: errors.ServerFailed,
    501: errors.RequestRefused,
    502: errors.ServerFailed,
    503: errors.Overloaded,
    504: errors.TimedOut,
    529: errors.Overloaded,
}
BODIES = (
    b"",
    b"null",
    b"<html><head><title>Sorry</title></head><body>Something went wrong</body></html>",
    b'{"error": {"message": "Something went wrong", "type": "some_error", "code": null}}',
    b'{"error": "Something went wrong"}',
    b'{"detail": [{"msg": "Something went wrong"}]}',
)
NAMES: tuple[str, ...] = (
    "choices",
    "usage",
    "model",
    "error",
    "type",
    "delta",
    "message",
    "content",
    "index",
    "finish_reason",
)
NAMES += ("tool_calls", "function", "arguments", "data", "id", "detail", "prompt_tokens", "code", "stop_reason")
ROUNDS = 300
"""Of random garbage; always the same."""


def failures_have_names(golden: Golden, bodies: tuple[bytes, ...] = BODIES) -> None:
    """Each HTTP status is the error that the table says, with Retry-After and clean evidence.

    What differs on purpose stands in errors.json: `{"statuses": {"403": "RateLimited"}}`.
    """
    provider = golden.make()
    particular = golden.read("errors.json", {}).get("statuses", {})
    for body in bodies:
        for status, expected in STATUSES.items():
            error, where = provider.problem(Answer(status, {"retry-after": "7"}, body)), f"HTTP {status} {body[:30]!r}:"
            equal(type(error).__name__, particular.get(str(status), expected.__name__), f"{where} the error is")
            equal(error.status, status, f"{where} its status is")
            equal(error.retry_after, 7 if error.retryable else None, f"{where} retry_after is")
            demand(error.message, f"{where} there is no message")
            equal("Something went wrong" in error.evidence, b"wrong" in body, f"{where} the evidence quotes it is")
            demand("<" not in error.evidence, f"{where} the evidence holds HTML")


def its_own_errors_are_named(golden: Golden) -> None:
    """The answers of errors.json are the errors that it names."""
    provider = golden.make()
    for told in golden.read("errors.json", {}).get("answers", []):
        body = told["body"] if isinstance(told["body"], str) else json.dumps(told["body"])
        error = provider.problem(Answer(told["status"], told.get("headers", {}), body.encode()))
        equal(type(error).__name__, told["error"], f"{told}: the error is")
        equal(error.retry_after, told.get("retry_after", error.retry_after), f"{told}: retry_after is")
        demand(told.get("evidence", "") in error.evidence, f"{told}: the evidence is {error.evidence!r}")


def errors_inside_good_answers_are_named(golden: Golden) -> None:
    """An error inside HTTP 200 is the error that errors.json names, not an empty answer."""
    provider = golden.make()
    for told in golden.read("errors.json", {}).get("inside", []):
        for mode in [Mode(told["mode"])] if "mode" in told else golden.modes:
            recorded = {**told, "answer": told["body"]}
            raises(
                getattr(errors, told["error"]),
                lambda mode=mode, recorded=recorded: golden.read_reply(provider, mode, recorded),  # type: ignore[misc]
                f"{mode}: the answer {str(told['body'])[:60]}",
            )


def the_check_tells_a_refused_key(golden: Golden) -> None:
    """The free check tells a refused key from a good one."""
    provider = golden.make()
    refused = provider.check_problem(Answer(401, {}, b"{}"))
    demand(isinstance(refused, errors.KeyRefused), f"HTTP 401 to the check is {refused!r}, and not KeyRefused")
    equal(provider.check_problem(Answer(200, {}, b"{}")), None, "HTTP 200 to the check is")


def garbage_is_survived(golden: Golden) -> None:
    """Garbage as an answer, a list or an error raises nothing but ProviderErrors."""
    chance = random.Random(7)  # noqa: S311 - the same garbage each time
    for _ in range(ROUNDS):
        answer_is_survived(golden, noise(chance))


def answer_is_survived(golden: Golden, body: bytes) -> None:
    """One answer of garbage."""
    provider, answer = golden.make(), Answer(200, {}, body)
    for mode in golden.modes:
        only_provider_errors(lambda mode=mode: provider.reply(golden.call(mode), answer), f"{mode}: reply({body!r})")  # type: ignore[misc]
    only_provider_errors(lambda: provider.models(answer), f"models({body!r})")
    error = provider.problem(Answer(400, {}, body))
    demand(isinstance(error, errors.ProviderError), f"problem({body!r}) gives {error!r}")


def streams_of_garbage_are_survived(golden: Golden) -> None:
    """A stream of garbage raises nothing but ProviderErrors."""
    if Mode.CHAT not in golden.modes or not golden.make().abilities(golden.target(Mode.CHAT)).streams:
        raise Skipped("it has no streams of chats")
    chance = random.Random(7)  # noqa: S311 - the same garbage each time
    for _ in range(ROUNDS):
        stream_is_survived(golden, [noise(chance) for _ in range(chance.randint(0, 4))])


def stream_is_survived(golden: Golden, frames: list[bytes]) -> None:
    """One stream of garbage."""
    events = golden.make().events(golden.call(Mode.CHAT))

    def read() -> None:
        for data in frames:
            demand(all(isinstance(chunk, bytes) for chunk in events.feed(Frame("", data))), "a chunk is no bytes")
        list(events.end())

    only_provider_errors(read, f"the stream {frames!r}")


def noise(chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return chance.randbytes(chance.randint(0, 60))
    return json.dumps(_value(chance, 3)).encode()


def _value(chance: random.Random, depth: int) -> Any:
    if depth and chance.random() < 0.7:
        items = [_value(chance, depth - 1) for _ in range(chance.randint(0, 3))]
        return items if chance.random() < 0.4 else {chance.choice(NAMES): item for item in items}
    return chance.choice([None, True, False, 0, -1, 7, 10**20, 0.5, float("inf"), "", "stop", "Grüße", "\ud83d"])
