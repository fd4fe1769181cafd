"""Xinference: OpenAI's routes, models of every kind, and file paths where their names belong."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from connections.providers.calls import Answer, Call, Mode, ModelInfo, Reply
from connections.providers.fields import OpenAIUrl, Secret
from connections.providers.openai_dialect import OpenAIDialect
from connections.providers.parameters import COMMON, KNOWN, ParameterTable
from connections.providers.settings import ProviderSettings, setting

KINDS: Mapping[str, Mode] = {
    "LLM": Mode.CHAT,
    "embedding": Mode.EMBEDDING,
    "image": Mode.IMAGE,
    "rerank": Mode.RERANK,
}
"""What `model_type` says; other types are nothing that we can call."""


class Xinference(OpenAIDialect):
    kind = "xinference"
    label = "Xinference"
    summary = "Open models of every kind, launched by an Xinference cluster."
    mark = "xinference"
    order = 64
    group = "self_hosted"
    docs_url = "https://inference.readthedocs.io"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE, Mode.RERANK})
    price_provider = "local"
    parameters = ParameterTable.of(
        *(name for name in COMMON if name != "input_type"), *KNOWN[Mode.RERANK], "size", "negative_prompt"
    )

    class Settings(ProviderSettings):
        base_url: OpenAIUrl = setting(
            "Server URL", help="Of the supervisor.", target=True, placeholder="http://127.0.0.1:9997", min_length=1
        )
        api_key: Secret = setting(
            "API key", default=SecretStr(""), help="From version 4 on needed, unless authentication is switched off."
        )

    settings: Settings

    @property
    def base_url(self) -> str:
        return self.settings.base_url

    def sign_in(self) -> Mapping[str, str]:
        key = self.settings.api_key.get_secret_value()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def reply(self, call: Call, answer: Answer) -> Reply:
        """The engine calls the model by its file's path: what was asked for is the better name."""
        return replace(super().reply(call, answer), model=call.target.upstream_id)

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        info, kind = super().model(item), KINDS.get(str(item.get("model_type", "LLM")))
        if info is None or kind is None:
            return None
        can = item.get("model_ability")
        names = {"vision": "vision", "tools": "tools"}
        abilities = frozenset(names[one] for one in can if one in names) if isinstance(can, list) else frozenset()
        writes = isinstance(can, list) and "generate" in can and "chat" not in can
        return replace(info, mode=Mode.COMPLETION if writes else kind, capabilities=abilities)
