"""Text Generation Inference (TGI): its own routes for completions, OpenAI's for chats."""

from collections.abc import Mapping
from typing import Any

from connections.providers import text_generation, wire
from connections.providers.calls import Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import Abilities, EventReader
from connections.providers.errors import ProviderError
from connections.providers.fields import OpenAIUrl, Secret, joined
from connections.providers.own_server import OwnServer, ServerSettings, optional_key, server_address
from connections.providers.parameters import ParameterTable

ONE_PROMPT = Abilities(choices=1, prompts=1)


class TGI(OwnServer):
    kind = "tgi"
    label = "Text Generation Inference"
    summary = "Hugging Face's model server (TGI). Frozen since 2026, and still running in many places."
    mark = "tgi"
    docs_url = "https://huggingface.co/docs/text-generation-inference"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION})
    parameters = ParameterTable.of(
        *("temperature", "top_p", "max_tokens", "stop", "seed", "presence_penalty", "frequency_penalty"),
        *("logprobs", "top_logprobs", "response_format", "tools", "tool_choice", "guideline", "tool_prompt"),
    )

    class Settings(ServerSettings):
        base_url: OpenAIUrl = server_address(
            "http://tgi.internal:8080", "Where the server listens. Without any path, /v1 is added."
        )
        api_key: Secret = optional_key("Only if the server asks for one.")

    settings: Settings

    @property
    def root(self) -> str:
        return self.base_url.removesuffix("/v1")

    def request(self, call: Call) -> Outgoing:
        if call.mode is not Mode.COMPLETION:
            return super().request(call)
        path = "generate_stream" if call.stream else "generate"
        body = text_generation.body(call, self.table_for(call))
        return Outgoing("POST", joined(self.root, path), self._headers, wire.encode(body))

    def reply(self, call: Call, answer: Answer) -> Reply:
        if call.mode is not Mode.COMPLETION:
            return super().reply(call, answer)
        return text_generation.reply(call, answer, self._secrets)

    def events(self, call: Call) -> EventReader:
        return text_generation.Chunks(call, self._secrets) if call.mode is Mode.COMPLETION else super().events(call)

    def problem(self, answer: Answer) -> ProviderError:
        return text_generation.problem(answer, self._secrets)

    def _table(self, target: Target) -> ParameterTable:
        return text_generation.TABLE if target.mode is Mode.COMPLETION else super()._table(target)

    def abilities(self, target: Target) -> Abilities:
        return ONE_PROMPT

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self.root, "info"), self._headers)

    def models(self, answer: Answer) -> list[ModelInfo]:
        """The one model that `/info` describes."""
        told = wire.decode(wire.ANY, answer.body, self._secrets)
        info = _info(told) if isinstance(told, dict) else None
        return [info] if info else []


def _info(told: Mapping[str, Any]) -> ModelInfo | None:
    name, context = told.get("model_id"), told.get("max_total_tokens")
    if not isinstance(name, str):
        return None
    return ModelInfo(name, context=context if isinstance(context, int) else None)
