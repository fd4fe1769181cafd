"""Xinference: OpenAI's routes, models of every kind, and file paths where their names belong."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import structs

from connections.providers import wire
from connections.providers.calls import Answer, Call, Frame, Mode, ModelInfo, Reply
from connections.providers.contract import EventReader
from connections.providers.fields import OpenAIUrl, Secret
from connections.providers.openai_replies import ChunkReader
from connections.providers.own_server import OwnServer, ServerSettings, optional_key, server_address
from connections.providers.parameters import COMMON, KNOWN, ParameterTable

KINDS: Mapping[str, Mode] = {
    "LLM": Mode.CHAT,
    "embedding": Mode.EMBEDDING,
    "image": Mode.IMAGE,
    "rerank": Mode.RERANK,
}
"""What `model_type` says; other types are nothing that we can call."""


class Xinference(OwnServer):
    kind = "xinference"
    label = "Xinference"
    summary = "Open models of every kind, launched by an Xinference cluster."
    mark = "xinference"
    order = 64
    docs_url = "https://inference.readthedocs.io"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE, Mode.RERANK})
    parameters = ParameterTable.of(
        *(name for name in COMMON if name != "input_type"), *KNOWN[Mode.RERANK], "size", "negative_prompt"
    )

    class Settings(ServerSettings):
        base_url: OpenAIUrl = server_address("http://127.0.0.1:9997", "Of the supervisor.")
        api_key: Secret = optional_key("From version 4 on needed, unless authentication is switched off.")

    settings: Settings

    def reply(self, call: Call, answer: Answer) -> Reply:
        reply = super().reply(call, answer)
        name = call.target.upstream_id
        return structs.replace(reply, body=_renamed(reply.body, name), model=name)

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
