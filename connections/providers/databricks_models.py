"""Databricks' pay-per-token endpoints (November 2026). A guide only: workspaces have endpoints of their own.

Retired ones may live on under any name as provisioned throughput.
"""

from connections.providers.calls import Mode, ModelInfo

TALKS = frozenset({"tools", "json_schema", "system"})
SEES = TALKS | {"vision"}


def _gone(name: str, family: str, ends: str, replacement: str) -> ModelInfo:
    return ModelInfo(name, family=family, lifecycle="retired", ends=ends, replacement=replacement)


CATALOGUE = (
    ModelInfo("databricks-claude-opus-5-5", family="claude", capabilities=SEES | {"reasoning"}),
    ModelInfo("databricks-claude-sonnet-5", family="claude", capabilities=SEES | {"reasoning"}),
    ModelInfo("databricks-gemini-3-8-flash", family="gemini", capabilities=SEES | {"reasoning"}),
    ModelInfo("databricks-llama-4-maverick", family="llama", capabilities=SEES),
    ModelInfo("databricks-meta-llama-3-3-70b-instruct", family="llama", context=128_000, capabilities=TALKS),
    ModelInfo("databricks-meta-llama-3-1-8b-instruct", family="llama", context=128_000, capabilities=TALKS),
    ModelInfo("databricks-gpt-oss-120b", family="gpt-oss", capabilities=TALKS | {"reasoning"}),
    ModelInfo("databricks-gpt-oss-20b", family="gpt-oss", capabilities=TALKS | {"reasoning"}),
    ModelInfo("databricks-gte-large-en", Mode.EMBEDDING, family="gte", context=8192),
    ModelInfo("databricks-bge-large-en", Mode.EMBEDDING, family="bge", context=512),
    _gone("databricks-dbrx-instruct", "dbrx", "2025-04-30", "databricks-llama-4-maverick"),
    _gone("databricks-mixtral-8x7b-instruct", "mixtral", "2025-04-30", "databricks-llama-4-maverick"),
    _gone("databricks-meta-llama-3-1-70b-instruct", "llama", "2024-12-11", "databricks-meta-llama-3-3-70b-instruct"),
    _gone("databricks-meta-llama-3-1-405b-instruct", "llama", "", "databricks-llama-4-maverick"),
)
