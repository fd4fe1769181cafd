"""Google's models as its notices describe them (November 2026), and in what their requests differ."""

import re
from collections.abc import Mapping
from typing import Literal

from connections.providers.calls import Mode, ModelInfo

Thinking = Literal["level", "budget", "none"]
Wire = Literal["gemini", "gemini_image", "imagen", "predict_embedding", "content_embedding", "chat_bison", "text_bison"]

CAN = frozenset({"vision", "tools", "json_schema", "system", "reasoning"})
SEES = CAN - {"reasoning"}
SHORTENS = frozenset({"embedding_dimensions"})
CONTEXT, MAX_OUTPUT = 1_048_576, 65_536

_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_WIRES: tuple[tuple[str, Wire], ...] = (
    ("multimodalembedding", "predict_embedding"),
    ("text-embedding", "predict_embedding"),
    ("text-multilingual-embedding", "predict_embedding"),
    ("textembedding-gecko", "predict_embedding"),
    ("gemini-embedding-001", "predict_embedding"),
    ("gemini-embedding", "content_embedding"),
    ("imagen", "imagen"),
    ("imagegeneration", "imagen"),
    ("chat-bison", "chat_bison"),
    ("codechat-bison", "chat_bison"),
    ("text-bison", "text_bison"),
    ("text-unicorn", "text_bison"),
)
_BY_MODE: Mapping[Mode, Wire] = {
    Mode.EMBEDDING: "content_embedding",
    Mode.IMAGE: "gemini_image",
    Mode.COMPLETION: "text_bison",
}


def wire_of(name: str, mode: Mode) -> Wire:
    """How a model is asked: by its name, else by what it is for."""
    named = next((wire for start, wire in _WIRES if name.startswith(start)), None)
    return named or _BY_MODE.get(mode, "gemini")


def thinking_of(name: str) -> Thinking:
    """How a model is told to think: by a level, by a budget of tokens, or not at all.

    Names without a number, such as `gemini-flash-latest`, are of the newest; endpoints of a project's own are not.
    """
    found = _GENERATION.match(name)
    if found is None:
        return "level" if name.startswith("gemini") else "budget"
    generation = int(found[1]), int(found[2] or 0)
    if generation >= (3, 0):
        return "level"
    return "budget" if generation >= (2, 5) else "none"


def always_thinks(name: str) -> bool:
    return "-pro" in name


def _chat(name: str, label: str, ends: str = "", replacement: str = "", lifecycle: str = "") -> ModelInfo:
    can = SEES if lifecycle == "retired" else CAN
    return ModelInfo(
        name, label=label, family="gemini", context=CONTEXT, max_output=MAX_OUTPUT, capabilities=can,
        lifecycle=lifecycle, ends=ends, replacement=replacement,
    )  # fmt: skip


def _image(name: str, label: str) -> ModelInfo:
    return ModelInfo(name, Mode.IMAGE, label=label, family="gemini")


def _retired(name: str, label: str, mode: Mode, family: str, ends: str, replacement: str) -> ModelInfo:
    return ModelInfo(name, mode, label=label, family=family, lifecycle="retired", ends=ends, replacement=replacement)


FLASH, PRO = "gemini-3.8-flash", "gemini-3.1-pro-preview"
CURRENT = (
    _chat("gemini-3.8-flash", "Gemini 3.8 Flash"),
    _chat("gemini-3.7-flash", "Gemini 3.7 Flash"),
    _chat("gemini-3.1-pro-preview", "Gemini 3.1 Pro (preview)"),
    _chat("gemini-3.5-flash-lite", "Gemini 3.5 Flash-Lite"),
    _image("gemini-3-pro-image", "Gemini 3 Pro Image"),
    ModelInfo("gemini-embedding-2", Mode.EMBEDDING, label="Gemini Embedding 2", family="gemini-embedding",
              context=8192, capabilities=SHORTENS),
    ModelInfo("gemini-embedding-001", Mode.EMBEDDING, label="Gemini Embedding", family="gemini-embedding",
              context=2048, capabilities=SHORTENS),
)  # fmt: skip
OLD = (
    _chat("gemini-2.0-flash", "Gemini 2.0 Flash", "2026-02-05", FLASH, "retired"),
    _chat("gemini-1.5-pro", "Gemini 1.5 Pro", "2025-09-24", PRO, "retired"),
    _chat("gemini-1.5-flash", "Gemini 1.5 Flash", "2025-09-24", FLASH, "retired"),
    _chat("gemini-1.0-pro", "Gemini 1.0 Pro", "2025-04-09", FLASH, "retired"),
)
DEVELOPER_CATALOGUE = (
    *CURRENT,
    _chat("gemini-3.6-flash", "Gemini 3.6 Flash"),
    _chat("gemini-3.5-flash", "Gemini 3.5 Flash"),
    _chat("gemini-3.1-flash-lite", "Gemini 3.1 Flash-Lite"),
    _chat("gemini-2.5-pro", "Gemini 2.5 Pro", "2026-12-01", FLASH, "deprecated"),
    _chat("gemini-2.5-flash", "Gemini 2.5 Flash", "2026-12-01", "gemini-3.5-flash-lite", "deprecated"),
    _chat("gemini-2.5-flash-lite", "Gemini 2.5 Flash-Lite"),
    *OLD,
    _retired("text-embedding-004", "Text Embedding 004", Mode.EMBEDDING, "text-embedding", "2026-01-14",
             "gemini-embedding-001"),
)  # fmt: skip
_IMAGEN_ENDS, _PALM_ENDS = "2026-08-17", "2025-04-09"
VERTEX_CATALOGUE = (
    *CURRENT,
    _image("gemini-2.5-flash-image", "Gemini 2.5 Flash Image"),
    _image("gemini-3.1-flash-image", "Gemini 3.1 Flash Image"),
    ModelInfo("text-embedding-005", Mode.EMBEDDING, label="Text Embedding 005", family="text-embedding",
              context=2048, capabilities=SHORTENS),
    ModelInfo("text-multilingual-embedding-002", Mode.EMBEDDING, label="Text Multilingual Embedding 002",
              family="text-embedding", context=2048, capabilities=SHORTENS),
    ModelInfo("multimodalembedding@001", Mode.EMBEDDING, label="Multimodal Embedding", family="text-embedding",
              capabilities=SHORTENS),
    _chat("gemini-3.6-flash", "Gemini 3.6 Flash", "2026-11-19", FLASH, "retired"),
    _chat("gemini-2.5-pro", "Gemini 2.5 Pro", "2026-10-20", PRO, "retired"),
    _chat("gemini-2.5-flash", "Gemini 2.5 Flash", "2026-10-20", FLASH, "retired"),
    _chat("gemini-2.5-flash-lite", "Gemini 2.5 Flash-Lite", "2026-10-20", "gemini-3.5-flash-lite", "retired"),
    *OLD,
    _retired("imagen-3.0-generate-002", "Imagen 3", Mode.IMAGE, "imagen", _IMAGEN_ENDS, "gemini-3-pro-image"),
    _retired("imagen-3.0-generate-001", "Imagen 3 (001)", Mode.IMAGE, "imagen", _IMAGEN_ENDS, "gemini-3-pro-image"),
    _retired("imagen-3.0-fast-generate-001", "Imagen 3 Fast", Mode.IMAGE, "imagen", _IMAGEN_ENDS,
             "gemini-2.5-flash-image"),
    _retired("chat-bison", "PaLM 2 Chat Bison", Mode.CHAT, "palm", _PALM_ENDS, FLASH),
    _retired("text-bison", "PaLM 2 Text Bison", Mode.COMPLETION, "palm", _PALM_ENDS, FLASH),
    _retired("textembedding-gecko", "PaLM 2 Embedding Gecko", Mode.EMBEDDING, "palm", _PALM_ENDS,
             "gemini-embedding-001"),
)  # fmt: skip
"""A guide only: any id may be typed."""
