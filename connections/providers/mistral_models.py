"""Mistral's models as its notices describe them (November 2026). A guide only: any id may be typed."""

from connections.providers.calls import Mode, ModelInfo

CAN = frozenset({"tools", "json_schema", "system"})
SEES = CAN | {"vision"}
REASONS = SEES | {"reasoning"}
LEGACY = ("open-mistral-7b", "open-mixtral-8x7b", "mistral-tiny")
"""How the names of models begin that take neither tools nor pictures."""


def _current(name: str, label: str, can: frozenset[str]) -> ModelInfo:
    return ModelInfo(name, label=label, family="mistral", capabilities=can)


def _retired(name: str, label: str, ends: str, replacement: str) -> ModelInfo:
    can = frozenset({"system"}) if name.startswith(LEGACY) else CAN
    return ModelInfo(
        name, label=label, family="mistral", capabilities=can, lifecycle="retired", ends=ends, replacement=replacement
    )


SMALL, LARGE = "mistral-small-latest", "mistral-large-latest"
CATALOGUE = (
    _current(SMALL, "Mistral Small", REASONS),
    _current("mistral-medium-latest", "Mistral Medium", REASONS),
    _current(LARGE, "Mistral Large", SEES),
    _current("mistral-small-2603", "Mistral Small 2603", REASONS),
    _current("mistral-large-2512", "Mistral Large 2512", SEES),
    _current("ministral-3b-2512", "Ministral 3B", SEES),
    _current("ministral-8b-2512", "Ministral 8B", SEES),
    _current("ministral-14b-2512", "Ministral 14B", SEES),
    _current("codestral-2508", "Codestral", CAN),
    ModelInfo("mistral-embed", Mode.EMBEDDING, label="Mistral Embed", family="mistral", context=8192),
    ModelInfo("codestral-embed", Mode.EMBEDDING, label="Codestral Embed", family="mistral", context=8192,
              capabilities=frozenset({"embedding_dimensions"})),
    _retired("mistral-small-2506", "Mistral Small 2506", "2026-07-31", SMALL),
    _retired("mistral-large-2411", "Mistral Large 2411", "2026-05-31", LARGE),
    _retired("mistral-small-2402", "Mistral Small 2402", "2025-06-16", SMALL),
    _retired("mistral-large-2402", "Mistral Large 2402", "2025-06-16", LARGE),
    _retired("open-mistral-7b", "Mistral 7B", "2025-03-30", "ministral-8b-2512"),
    _retired("open-mixtral-8x7b", "Mixtral 8x7B", "2025-03-30", SMALL),
)  # fmt: skip


def known(name: str) -> ModelInfo | None:
    return next((info for info in CATALOGUE if info.id == name), None)
