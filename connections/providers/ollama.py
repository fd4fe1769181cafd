"""Ollama through its own routes, which know more than the OpenAI ones it offers beside them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connections.providers import problems, shapes, wire
from connections.providers.calls import (
    JSON,
    Answer,
    Call,
    Framing,
    Mode,
    ModelInfo,
    Outgoing,
    Reply,
    Target,
)
from connections.providers.contract import ONE_CHOICE, Abilities, Auth, EventReader, Provider, StaticHeaders
from connections.providers.errors import ProviderError
from connections.providers.fields import Secret, Url, joined
from connections.providers.ollama_replies import (
    AnswerReader,
    calls_of,
    model_of,
    reason_of,
    text_of,
    thought_of,
    usage_of,
)
from connections.providers.ollama_requests import chat_fields, one_prompt
from connections.providers.own_server import bearer_of, optional_key, server_address
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.prompt_formats import PromptOptions
from connections.providers.settings import ProviderSettings, setting
from connections.providers.shapes import mapping, mappings, string

OPTIONS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repetition_penalty": "repeat_penalty",
    "max_tokens": "num_predict",
    "num_ctx": "num_ctx",
    "repeat_last_n": "repeat_last_n",
    "typical_p": "typical_p",
}
"""What goes into `options`, under Ollama's names."""
PATHS: Mapping[Mode, str] = {Mode.CHAT: "api/chat", Mode.COMPLETION: "api/generate", Mode.EMBEDDING: "api/embed"}
CHAT = ParameterTable.of(
    *OPTIONS, "tools", "tool_choice", "response_format", "reasoning_effort", "logprobs", "top_logprobs", "keep_alive",
    max_completion_tokens=Rule("max_tokens"),
)  # fmt: skip
TABLES: Mapping[Mode, ParameterTable] = {
    Mode.CHAT: CHAT,
    Mode.COMPLETION: ParameterTable.of(*OPTIONS, "suffix", "keep_alive"),
    Mode.EMBEDDING: ParameterTable.of("dimensions", "truncate", "keep_alive"),
}


class Ollama(Provider):
    kind = "ollama"
    label = "Ollama"
    summary = "Open models on a machine of your own, or in Ollama's cloud."
    mark = "ollama"
    order = 61
    group = "self_hosted"
    docs_url = "https://docs.ollama.com/api"
    modes = frozenset(TABLES)
    parameters = CHAT
    framing = Framing.NDJSON
    price_provider = "local"

    class Settings(ProviderSettings):
        base_url: Url = server_address(
            "http://127.0.0.1:11434", "Where Ollama listens, or https://ollama.com for its cloud."
        )
        api_key: Secret = optional_key("Only for Ollama's cloud.")
        num_ctx: int | None = setting(
            "Context of all models (tokens)",
            default=None,
            help="Ollama cuts off the beginning of prompts that are longer than its own small default.",
            ge=512,
            le=10_000_000,
        )
        keep_alive: str = setting(
            "Keep models loaded for",
            default="",
            help="As in 5m, or -1 for ever; empty: as the server is set up.",
            advanced=True,
            pattern=r"^$|^-1$|^[0-9]{1,6}[smh]?$",
        )

    class ModelOptions(PromptOptions):
        num_ctx: int | None = setting(
            "Context (tokens)", default=None, help="In place of the connection's.", ge=512, le=10_000_000
        )

    settings: Settings

    @property
    def auth(self) -> Auth:
        return StaticHeaders(bearer_of(self.settings.api_key))

    def request(self, call: Call) -> Outgoing:
        given = {name: wire.plain(value) for name, value in self.parameters_for(call.target).apply(call).items()}
        body = {"model": call.target.upstream_id, **self._body(call, given), **self._usual(call)}
        url = joined(self._base_url, PATHS[call.mode])
        return Outgoing("POST", url, {"Content-Type": "application/json"}, wire.encode(body))

    @property
    def _base_url(self) -> str:
        """Without the paths that people paste along."""
        return self.settings.base_url.removesuffix("/v1").removesuffix("/api")

    def _usual(self, call: Call) -> JSON:
        if call.mode is Mode.EMBEDDING:
            return {}
        return {"stream": call.stream}

    def _body(self, call: Call, given: JSON) -> JSON:
        options = {own: given.pop(name) for name, own in OPTIONS.items() if name in given}
        context = self.ModelOptions.stored(call.target.options).num_ctx or self.settings.num_ctx
        if context:
            options.setdefault("num_ctx", context)
        if isinstance(options.get("stop"), str):
            options["stop"] = [options["stop"]]
        if self.settings.keep_alive:
            given.setdefault("keep_alive", self.settings.keep_alive)
        if call.mode is Mode.CHAT:
            given = chat_fields(call, given)
        elif call.mode is Mode.COMPLETION:
            given["prompt"] = one_prompt(given["prompt"])
        return {**given, **({"options": options} if options else {})}

    def reply(self, call: Call, answer: Answer) -> Reply:
        said = shapes.decoded(answer.body, self.secrets())
        if call.mode is Mode.EMBEDDING:
            return self._vectors(said, answer)
        text = text_of(said)
        if text is None:
            raise problems.unreadable(answer.body, self.secrets())
        usage, model = usage_of(said), string(said, "model")
        if call.mode is Mode.COMPLETION:
            return shapes.completion_reply([(text, reason_of(said))], usage, model=model)
        message: JSON = {"content": text, **thought_of(mapping(said.get("message")))}
        calls = calls_of(mapping(said.get("message")), 0)
        if calls:
            message["tool_calls"] = [{name: value for name, value in one.items() if name != "index"} for one in calls]
        return shapes.chat_reply(message, "tool_calls" if calls else reason_of(said), usage, model=model)

    def _vectors(self, said: Mapping[str, Any], answer: Answer) -> Reply:
        vectors = said.get("embeddings")
        if not isinstance(vectors, list) or not vectors or not all(isinstance(one, list) and one for one in vectors):
            raise problems.unreadable(answer.body, self.secrets())
        return shapes.embedding_reply(
            vectors, wire.usage(said.get("prompt_eval_count"), 0), model=string(said, "model")
        )

    def events(self, call: Call) -> EventReader:
        return AnswerReader(self.secrets(), call.wants_usage, call.mode)

    def problem(self, answer: Answer) -> ProviderError:
        return problems.named(answer, self.secrets())

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self._base_url, "api/tags"))

    def models(self, answer: Answer) -> list[ModelInfo]:
        listed = shapes.decoded(answer.body, self.secrets()).get("models")
        if not isinstance(listed, list):
            raise problems.unreadable(answer.body, self.secrets())
        return [model_of(item) for item in mappings(listed) if string(item, "model") or string(item, "name")]

    def parameters_for(self, target: Target) -> ParameterTable:
        return TABLES.get(target.mode, CHAT)

    def abilities(self, target: Target) -> Abilities:
        return replace(ONE_CHOICE, inputs=512, image_urls=False)
