"""Hugging Face Inference Providers: one router in front of many hosts; embeddings on a route of their own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connections.providers import feature_extraction, wire
from connections.providers.bearer import BearerDialect, BearerSettings, own_address
from connections.providers.calls import Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import Abilities
from connections.providers.fields import HeaderText, OpenAIUrl, Secret, in_path, joined
from connections.providers.parameters import COMMON, ParameterTable
from connections.providers.settings import setting

REFUSED = frozenset({"store", "prompt_cache_key", "safety_identifier", "verbosity", "metadata", "service_tier"})
EMBEDDING = ParameterTable.of("normalize", "prompt_name", "truncate", "truncation_direction")
CHAT = Abilities(choices=1)
TEXTS = Abilities(streams=False, inputs=32)


class HuggingFace(BearerDialect):
    kind = "huggingface"
    label = "Hugging Face Inference Providers"
    summary = "Open models of the Hub, served by many hosts behind one key."
    mark = "huggingface"
    docs_url = "https://huggingface.co/settings/tokens"
    modes = frozenset({Mode.CHAT, Mode.EMBEDDING})
    parameters = ParameterTable.of(*(name for name in COMMON if name not in REFUSED | {"input_type", "n"}))
    catalogue = (
        ModelInfo("openai/gpt-oss-120b", family="gpt-oss", context=131_072, capabilities=frozenset({"tools"})),
        ModelInfo("openai/gpt-oss-120b:cheapest", family="gpt-oss", context=131_072),
        ModelInfo("BAAI/bge-m3", Mode.EMBEDDING, family="bge", context=8192),
    )

    class Settings(BearerSettings):
        api_key: Secret = setting(
            "Access token",
            help="Begins with hf_. It needs the permission to make calls to Inference Providers.",
            min_length=1,
        )
        bill_to: HeaderText = setting(
            "Organization to bill", default="", help="Its name on the Hub; empty: the token's owner pays."
        )
        base_url: OpenAIUrl = own_address("https://router.huggingface.co/v1")

    settings: Settings

    def extra_headers(self) -> Mapping[str, str]:
        return {"X-HF-Bill-To": self.settings.bill_to} if self.settings.bill_to else {}

    def request(self, call: Call) -> Outgoing:
        if call.mode is not Mode.EMBEDDING:
            return super().request(call)
        body = self.table_for(call).apply(call)
        del body["input"]
        path = f"hf-inference/models/{in_path(call.target.upstream_id, '/')}/pipeline/feature-extraction"
        url = joined(self.base_url.removesuffix("/v1"), path)
        texts = feature_extraction.texts_of(call)
        return Outgoing("POST", url, self._headers, wire.encode({"inputs": texts, **body}))

    def reply(self, call: Call, answer: Answer) -> Reply:
        if call.mode is not Mode.EMBEDDING:
            return super().reply(call, answer)
        return feature_extraction.reply(call, answer, self._secrets)

    def _table(self, target: Target) -> ParameterTable:
        return EMBEDDING if target.mode is Mode.EMBEDDING else super()._table(target)

    def abilities(self, target: Target) -> Abilities:
        return TEXTS if target.mode is Mode.EMBEDDING else CHAT

    def priced_as(self, target: Target) -> str:
        """Without the host or policy that the id may end with."""
        return target.known_as.partition(":")[0]

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        """One model, with the most that any of its hosts offers."""
        info, hosts = super().model(item), item.get("providers")
        live = [host for host in hosts if isinstance(host, dict)] if isinstance(hosts, list) else []
        if info is None or (live and not any(host.get("status", "live") == "live" for host in live)):
            return None
        contexts = [host["context_length"] for host in live if isinstance(host.get("context_length"), int)]
        told = {"tools": "supports_tools", "json_schema": "supports_structured_output"}
        can = frozenset(name for name, field in told.items() if any(host.get(field) is True for host in live))
        return replace(info, context=max(contexts, default=info.context), capabilities=can)
