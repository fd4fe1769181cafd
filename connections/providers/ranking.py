"""Reranked documents in the shape that callers get: `{"results": [{"index", "relevance_score"}, …]}`."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from connections.providers import problems, wire
from connections.providers.calls import Reply, Usage


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _Whole(msgspec.Struct):
    results: list[_Result] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None


_WHOLE = msgspec.json.Decoder(_Whole)


def reply_of(scores: Iterable[tuple[int, float]], usage: Usage, model: str = "") -> Reply:
    """Best first: place in the caller's list, and how well it fits."""
    results = [{"index": index, "relevance_score": score} for index, score in scores]
    results.sort(key=lambda result: -result["relevance_score"])
    return Reply(wire.encode({"object": "list", "results": results}), usage, "stop", model)


def openai_reply(body: bytes, secrets: Sequence[str]) -> Reply:
    """An answer of servers that offer reranking beside OpenAI's routes."""
    whole = wire.decode(_WHOLE, body, secrets)
    if whole.error:
        raise problems.inside(wire.decode(wire.ANY, body, secrets), secrets)
    if whole.results is None:
        raise problems.unreadable(body, secrets)
    told = whole.usage if isinstance(whole.usage, dict) else {}
    usage = wire.usage(told.get("prompt_tokens", told.get("total_tokens")), 0)
    scores = [(result.index, result.relevance_score) for result in whole.results]
    return reply_of(scores, usage, str(whole.model or "")[:300])
