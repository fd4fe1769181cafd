"""Xinference: OpenAI's routes, models of every kind, and file paths where their names belong."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from pydantic import SecretStr

from connections.providers import wire
from connections.providers.calls import Answer, Call, Frame, Mode, ModelInfo, Reply
from connections.providers.contract import EventReader
from connections.providers.fields import OpenAIUrl, Secret
from connections.providers.openai_dialect import OpenAIDialect
from connections.providers.openai_replies import ChunkReader
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
        reply = super().reply(call, answer)
        name = call.target.upstream_id
        return replace(reply, body=_renamed(reply.body, name), model=name)

    def events(self, call: Call) -> EventReader:
        return _Reader(self._secrets, call.wants_usage, call.target.upstream_id)

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        info, kind = super().model(item), KINDS.get(str(item.get("model_type", "LLM")))
        if info is None or kind is None:
            return None
        can = item.get("model_ability")
        names = {"vision": "vision", "tools": "tools"}
        abilities = frozenset(names[one] for one in can if one in names) if isinstance(can, list) else frozenset()
        writes = isinstance(can, list) and "generate" in can and "chat" not in can
        return replace(info, mode=Mode.COMPLETION if writes else kind, capabilities=abilities)


class _Reader(ChunkReader):
    def __init__(self, secrets: Sequence[str], wants_usage: bool, model: str) -> None:
        super().__init__(secrets, wants_usage)
        self._name = model

    def feed(self, frame: Frame) -> Sequence[bytes]:
        chunks = [_renamed(chunk, self._name) for chunk in super().feed(frame)]
        self.model = self._name
        return chunks


def _renamed(body: bytes, model: str) -> bytes:
    """The engine calls the model by its file's path, which is nobody's business: what was asked for is its name."""
    content: dict[str, Any] = msgspec.json.decode(body)
    return wire.encode({**content, "model": model})
