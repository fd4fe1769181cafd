"""Cohere's models as its notices describe them (November 2026). A guide only: any id may be typed."""

from collections.abc import Mapping
from typing import Any

from connections.providers.calls import Mode, ModelInfo

TALKS = frozenset({"tools", "json_schema", "system"})
SIZED = frozenset({"embedding_dimensions"})
DEPRECATED = "2025-09-15"

MODES: Mapping[str, Mode] = {
    "chat": Mode.CHAT,
    "generate": Mode.COMPLETION,
    "embed": Mode.EMBEDDING,
    "rerank": Mode.RERANK,
}
"""What Cohere's list calls the routes on which a model answers; the first that a model has counts."""
THINKS = ("reasoning", "command-a-plus")
"""Parts of the ids of models that can be told to think first."""
CONTINUES = ("command", "command-light", "command-nightly", "command-light-nightly")
"""The first models: they continue texts, and chat on the first version of the route only."""


def thinks(model: str) -> bool:
    return any(part in model for part in THINKS)


def _chat(name: str, label: str, context: int, can: frozenset[str] = frozenset()) -> ModelInfo:
    return ModelInfo(name, label=label, family="command", context=context, capabilities=TALKS | can)


def _old(name: str, label: str, replacement: str, mode: Mode = Mode.CHAT) -> ModelInfo:
    return ModelInfo(name, mode, label, "command", lifecycle="deprecated", ends=DEPRECATED, replacement=replacement)


def _embed(name: str, label: str, can: frozenset[str] = frozenset()) -> ModelInfo:
    return ModelInfo(name, Mode.EMBEDDING, label, "embed", capabilities=can)


CATALOGUE = (
    _chat("command-a-plus-05-2026", "Command A+", 256_000, frozenset({"reasoning", "vision"})),
    _chat("command-a-03-2025", "Command A", 256_000),
    _chat("command-a-reasoning-08-2025", "Command A Reasoning", 256_000, frozenset({"reasoning"})),
    _chat("command-a-vision-07-2025", "Command A Vision", 128_000, frozenset({"vision"}) - TALKS),
    _chat("command-r7b-12-2024", "Command R7B", 128_000),
    _chat("command-r-plus-08-2024", "Command R+", 128_000),
    _chat("command-r-08-2024", "Command R", 128_000),
    _embed("embed-v4.0", "Embed 4", SIZED),
    _embed("embed-english-v3.0", "Embed English 3"),
    _embed("embed-multilingual-v3.0", "Embed Multilingual 3"),
    ModelInfo("rerank-v3.5", Mode.RERANK, "Rerank 3.5", "rerank"),
    _old("command-r-plus-04-2024", "Command R+ (April 2024)", "command-r-plus-08-2024"),
    _old("command-r-03-2024", "Command R (March 2024)", "command-r-08-2024"),
    _old("command", "Command", "command-a-03-2025", Mode.COMPLETION),
    _old("command-light", "Command Light", "command-r7b-12-2024", Mode.COMPLETION),
)


def described(item: Mapping[str, Any]) -> ModelInfo | None:
    """What one item of Cohere's list says; None: nothing that we can call."""
    name, routes = item.get("name"), item.get("endpoints")
    if not isinstance(name, str) or not isinstance(routes, list):
        return None
    mode = next((mode for route, mode in MODES.items() if route in routes), None)
    if mode is None:
        return None
    context = item.get("context_length")
    features = item.get("features")
    can = frozenset({"vision"}) if isinstance(features, list) and "vision" in features else frozenset()
    return ModelInfo(
        name,
        mode,
        family=name.partition("-")[0],
        context=int(context) if isinstance(context, int | float) and 0 < context < 10**9 else None,
        capabilities=can | (TALKS if mode is Mode.CHAT else frozenset()),
        lifecycle="deprecated" if item.get("is_deprecated") is True else "",
    )
