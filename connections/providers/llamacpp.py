"""The llama.cpp server (llama-server): its OpenAI routes, and its own one for completions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connections.providers import wire
from connections.providers.calls import Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import Abilities, EventReader
from connections.providers.errors import ProviderError
from connections.providers.fields import OpenAIUrl, joined
from connections.providers.llamacpp_native import TABLE, CompletionReader, body_of, completion
from connections.providers.own_server import OwnServer, ServerSettings, server_address
from connections.providers.parameters import COMMON, ParameterTable, Rule

REFUSED = frozenset({"store", "service_tier", "prompt_cache_key", "safety_identifier", "best_of", "verbosity"})
OWN = (
    "cache_prompt",
    "chat_template_kwargs",
    "dynatemp_range",
    "grammar",
    "json_schema",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "reasoning_format",
    "repeat_last_n",
    "typical_p",
)
"""Parameters that only llama.cpp knows."""


class LlamaCpp(OwnServer):
    kind = "llamacpp"
    label = "llama.cpp server"
    summary = "Open models in GGUF files, on a machine of your own."
    mark = "llamacpp"
    order = 60
    docs_url = "https://github.com/ggml-org/llama.cpp/tree/master/tools/server"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.RERANK})
    parameters = ParameterTable.of(
        *(name for name in COMMON if name not in REFUSED),
        "top_n",
        *OWN,
        repetition_penalty=Rule("repeat_penalty"),
    )

    class Settings(ServerSettings):
        base_url: OpenAIUrl = server_address("http://127.0.0.1:8080", "Where llama-server listens.")

    settings: Settings

    def request(self, call: Call) -> Outgoing:
        if call.mode is not Mode.COMPLETION:
            return super().request(call)
        url = joined(self.base_url.removesuffix("/v1"), "completion")
        return Outgoing("POST", url, self.headers_of(call), wire.encode(body_of(call)))

    def reply(self, call: Call, answer: Answer) -> Reply:
        if call.mode is not Mode.COMPLETION:
            return super().reply(call, answer)
        return completion(answer.body, self.secrets())

    def events(self, call: Call) -> EventReader:
        if call.mode is not Mode.COMPLETION:
            return super().events(call)
        return CompletionReader(self.secrets(), call.wants_usage)

    def parameters_for(self, target: Target) -> ParameterTable:
        return TABLE if target.mode is Mode.COMPLETION else super().parameters_for(target)

    def abilities(self, target: Target) -> Abilities:
        able = super().abilities(target)
        return replace(able, choices=1) if target.mode is Mode.COMPLETION else able

    def problem(self, answer: Answer) -> ProviderError:
        error = super().problem(answer)
        if answer.status == 503:
            error.message = "The server runs, but has no model to answer with yet."
            error.args = (error.message,)
        return error

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        info, meta = super().model(item), item.get("meta")
        context = meta.get("n_ctx") if isinstance(meta, dict) else None
        return replace(info, context=context) if info and isinstance(context, int) else info
