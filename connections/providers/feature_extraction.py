"""Vectors as Hugging Face's feature extraction gives them: bare lists, sometimes one vector per token."""

from collections.abc import Sequence
from typing import Any

from connections.providers import problems, wire
from connections.providers.calls import Answer, Call, Reply, Usage
from connections.providers.errors import RequestRefused


def texts_of(call: Call) -> list[str]:
    """The texts to embed."""
    given = wire.plain(call.body["input"])
    texts = [given] if isinstance(given, str) else given
    if not all(isinstance(text, str) for text in texts):
        raise RequestRefused("This model embeds plain texts only: no token numbers.")
    return list(texts)


def reply(call: Call, answer: Answer, secrets: Sequence[str], usage: Usage | None = None) -> Reply:
    """One vector for each text; token vectors become their mean."""
    content = wire.decode(wire.ANY, answer.body, secrets)
    if isinstance(content, dict) and content.get("error"):
        raise problems.inside(content, secrets)
    count = len(texts_of(call))
    rows = [content] if count == 1 and _is_vector(content) else content
    vectors = [_pooled(row) for row in rows] if isinstance(rows, list) else []
    if len(vectors) != count or not all(vectors):
        raise problems.unreadable(answer.body, secrets)
    data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    usage, model = usage or Usage(completion_tokens=0), call.target.upstream_id
    told = {} if usage.prompt_tokens is None else {"usage": usage.as_openai()}
    return Reply(wire.encode({"object": "list", "data": data, "model": model, **told}), usage, "stop", model)


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(number) in {int, float} for number in value)


def _pooled(row: Any) -> list[float]:
    """The vector itself, or the mean of those of its tokens; empty: it is neither."""
    if _is_vector(row):
        return list(row)
    while isinstance(row, list) and len(row) == 1 and not _is_vector(row[0]):
        row = row[0]
    tokens = row if isinstance(row, list) and row and all(map(_is_vector, row)) else []
    if len({len(token) for token in tokens}) != 1:
        return []
    return [sum(numbers) / len(tokens) for numbers in zip(*tokens, strict=True)]
