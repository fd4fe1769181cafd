"""Text Embeddings Inference (TEI): embeddings and reranking on its own routes."""

from collections.abc import Mapping
from typing import Any

import msgspec

from connections.providers import feature_extraction, problems, ranking, text_generation, wire
from connections.providers.calls import Adjustment, Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target, Usage
from connections.providers.contract import NOTHING, Abilities, Auth, Provider, StaticHeaders
from connections.providers.errors import ProviderError
from connections.providers.fields import Secret, Url, joined
from connections.providers.own_server import bearer_of, optional_key, server_address
from connections.providers.parameters import ParameterTable
from connections.providers.settings import ProviderSettings, setting


class _Score(msgspec.Struct):
    index: int
    score: float


_SCORES = msgspec.json.Decoder(list[_Score])


class TEI(Provider):
    kind = "tei"
    label = "Text Embeddings Inference"
    summary = "Hugging Face's server (TEI) for embeddings and reranking."
    mark = "tei"
    group = "self_hosted"
    docs_url = "https://huggingface.co/docs/text-embeddings-inference"
    price_provider = "local"
    modes = frozenset({Mode.EMBEDDING, Mode.RERANK})
    parameters = ParameterTable.of("normalize", "truncate", "prompt_name", "truncation_direction", "top_n")

    class Settings(ProviderSettings):
        base_url: Url = server_address("http://tei.internal:8080")
        api_key: Secret = optional_key("Only if the server was started with one.")
        batch_size: int = setting(
            "Texts per request",
            default=32,
            help="What --max-client-batch-size allows; longer lists are split.",
            advanced=True,
            ge=1,
            le=2048,
        )

    settings: Settings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        self._auth = StaticHeaders(bearer_of(self.settings.api_key))
        self._root = self.settings.base_url.removesuffix("/v1")
        self._abilities = Abilities(streams=False, choices=1, inputs=self.settings.batch_size)
        self._secrets = self.secrets()

    @property
    def auth(self) -> Auth:
        return self._auth

    def request(self, call: Call) -> Outgoing:
        body = self.parameters.apply(call)
        if call.mode is Mode.RERANK:
            if body.pop("top_n", None) is not None:
                call.adjusted.append(Adjustment("top_n", "applied to the whole answer"))
            body["texts"] = body.pop("documents")
        else:
            body.pop("input")
            body["inputs"] = feature_extraction.texts_of(call)
        path = "rerank" if call.mode is Mode.RERANK else "embed"
        headers = {"Content-Type": "application/json"}
        return Outgoing("POST", joined(self._root, path), headers, wire.encode(body))

    def reply(self, call: Call, answer: Answer) -> Reply:
        tokens = answer.headers.get("x-compute-tokens", "")
        usage = Usage(int(tokens), 0) if tokens.isdecimal() else Usage(completion_tokens=0)
        if text_generation.says_error(answer.body):
            raise text_generation.inside(answer.body, self._secrets)
        if call.mode is Mode.EMBEDDING:
            return feature_extraction.reply(call, answer, self._secrets, usage)
        scores = wire.decode(_SCORES, answer.body, self._secrets)
        if not scores:
            raise problems.unreadable(answer.body, self._secrets)
        best = sorted(scores, key=lambda score: -score.score)[: wire.plain(call.body.get("top_n"))]
        return ranking.reply_of([(one.index, one.score) for one in best], usage, call.target.upstream_id)

    def problem(self, answer: Answer) -> ProviderError:
        return text_generation.problem(answer, self._secrets)

    def abilities(self, target: Target) -> Abilities:
        return self._abilities

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self._root, "info"))

    def models(self, answer: Answer) -> list[ModelInfo]:
        """The one model that `/info` describes."""
        told = wire.decode(wire.ANY, answer.body, self._secrets)
        info = _info(told) if isinstance(told, dict) else None
        return [info] if info else []


def _info(told: Mapping[str, Any]) -> ModelInfo | None:
    name, kind, context = told.get("model_id"), told.get("model_type"), told.get("max_input_length")
    if not isinstance(name, str):
        return None
    ranks = isinstance(kind, dict) and not kind.keys().isdisjoint({"reranker", "classifier"})
    return ModelInfo(
        name, Mode.RERANK if ranks else Mode.EMBEDDING, context=context if isinstance(context, int) else None
    )
