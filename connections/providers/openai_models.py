"""OpenAI's models as its notices describe them (November 2026). A guide only: any id may be typed."""

from connections.providers.calls import Mode, ModelInfo

SEES = frozenset({"vision", "tools", "json_schema", "system"})
REASONS = SEES | {"reasoning"}
DRAWS = ("dall-e", "gpt-image", "chatgpt-image")
"""Parts of the ids of models for pictures."""
NOT_CALLED = ("audio", "computer-use", "moderation", "realtime", "sora", "transcribe", "tts", "whisper")
"""Parts of the ids of models for sound and films and for using a computer, which are called in other ways."""


def _current(name: str, context: int | None = None, max_output: int | None = None) -> ModelInfo:
    return ModelInfo(name, family="gpt", context=context, max_output=max_output, capabilities=REASONS)


def _ending(
    name: str, ends: str, replacement: str, context: int, max_output: int, can: frozenset[str] = REASONS
) -> ModelInfo:
    family = name.partition("-")[0]
    return ModelInfo(
        name,
        family=family,
        context=context,
        max_output=max_output,
        capabilities=can,
        lifecycle="deprecated",
        ends=ends,
        replacement=replacement,
    )


def _retired(name: str, ends: str, replacement: str, mode: Mode = Mode.CHAT) -> ModelInfo:
    family = name.partition("-")[0]
    return ModelInfo(name, mode, family=family, lifecycle="retired", ends=ends, replacement=replacement)


def _embedding(name: str, can: frozenset[str]) -> ModelInfo:
    return ModelInfo(name, Mode.EMBEDDING, family="text-embedding", context=8192, capabilities=can)


def _image(name: str, lifecycle: str = "", ends: str = "") -> ModelInfo:
    replacement = "gpt-image-2.5-flare" if lifecycle else ""
    return ModelInfo(name, Mode.IMAGE, family="image", lifecycle=lifecycle, ends=ends, replacement=replacement)


CATALOGUE = (
    _current("gpt-6.1-sol"),
    _current("gpt-6.1-terra"),
    _current("gpt-6-sol"),
    _current("gpt-6-luna"),
    _current("gpt-6-astra"),
    _current("gpt-5.6-sol"),
    _current("gpt-5.6-terra"),
    _current("gpt-5.6-luna"),
    _current("gpt-5.5"),
    _current("gpt-5.4"),
    _current("gpt-5.4-mini"),
    _current("gpt-5.2", 400_000, 128_000),
    _image("gpt-image-2.5-sunburst"),
    _image("gpt-image-2.5-flare"),
    _image("gpt-image-2"),
    _embedding("text-embedding-3-small", frozenset({"embedding_dimensions"})),
    _embedding("text-embedding-3-large", frozenset({"embedding_dimensions"})),
    _embedding("text-embedding-ada-002", frozenset()),
    _ending("gpt-4o", "2027-01-14", "gpt-5.5", 128_000, 16_384, SEES),
    _ending("gpt-4o-mini", "2027-01-14", "gpt-5.4-mini", 128_000, 16_384, SEES),
    _ending("gpt-4.1", "2027-01-14", "gpt-5.5", 1_047_576, 32_768, SEES),
    _ending("gpt-4.1-mini", "2027-01-14", "gpt-5.4-mini", 1_047_576, 32_768, SEES),
    _ending("gpt-5", "2026-12-11", "gpt-5.5", 400_000, 128_000),
    _ending("gpt-5-mini", "2026-12-11", "gpt-5.4-mini", 400_000, 128_000),
    _ending("gpt-5-nano", "2026-12-11", "gpt-5.4-mini", 400_000, 128_000),
    _ending("gpt-5-pro", "2026-12-11", "gpt-6.1-sol", 400_000, 272_000),
    _ending("o3", "2026-12-11", "gpt-5.5", 200_000, 100_000),
    _ending("o3-pro", "2026-12-11", "gpt-6.1-sol", 200_000, 100_000),
    _image("gpt-image-1.5", "deprecated", "2026-12-01"),
    _image("gpt-image-1-mini", "deprecated", "2026-12-01"),
    _image("gpt-image-1", "retired", "2026-10-23"),
    _image("dall-e-3", "retired", "2026-05-12"),
    _image("dall-e-2", "retired", "2026-05-12"),
    _retired("gpt-4.1-nano", "2026-10-23", "gpt-5.4-mini"),
    _retired("o4-mini", "2026-10-23", "gpt-5.4-mini"),
    _retired("o3-mini", "2026-10-23", "gpt-5.4-mini"),
    _retired("o1", "2026-10-23", "gpt-5.5"),
    _retired("o1-pro", "2026-10-23", "gpt-6.1-sol"),
    _retired("gpt-4-turbo", "2026-10-23", "gpt-5.5"),
    _retired("gpt-4", "2026-10-23", "gpt-5.5"),
    _retired("gpt-4o-2024-05-13", "2026-10-23", "gpt-5.5"),
    _retired("gpt-3.5-turbo", "2026-10-23", "gpt-5.4-mini"),
    _retired("gpt-3.5-turbo-instruct", "2026-09-28", "gpt-5.4-mini", Mode.COMPLETION),
    _retired("davinci-002", "2026-09-28", "gpt-5.4-mini", Mode.COMPLETION),
    _retired("babbage-002", "2026-09-28", "gpt-5.4-mini", Mode.COMPLETION),
)
