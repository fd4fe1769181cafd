"""Predibase, and LoRAX servers of one's own: one base model per deployment, with an adapter for each use.

The deployment stands in the address, so the name of a model is that of its adapter, or `base` for none.
"""

from collections.abc import Mapping
from typing import Literal, Self
from urllib.parse import quote

from pydantic import SecretStr, model_validator

from connections.providers import text_generation, wire
from connections.providers.calls import Answer, Call, Mode, ModelInfo, Outgoing, Target
from connections.providers.fields import Secret, Url, joined
from connections.providers.openai_dialect import DialectOptions
from connections.providers.parameters import COMMON, ParameterTable
from connections.providers.settings import ProviderSettings, setting
from connections.providers.tgi import TGI

SERVING = "https://serving.app.predibase.com"
BASE = "base"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$|^$"
REFUSED = frozenset({"store", "prompt_cache_key", "safety_identifier", "verbosity", "service_tier", "input_type"})


class LoRAXOptions(DialectOptions):
    adapter_id: str = setting(
        "Adapter", default="", help="Its id, if it differs from the model's name; base: none.", max_length=300
    )
    adapter_source: Literal["", "hub", "local", "s3", "pbase"] = setting(
        "Where the adapter lies", default="", help="Empty: pbase at Predibase, otherwise the server's own choice."
    )


class Predibase(TGI):
    kind = "predibase"
    label = "Predibase"
    summary = "Fine-tuned adapters on shared base models; also LoRAX servers of your own."
    mark = "predibase"
    group = "hosted"
    docs_url = "https://docs.predibase.com"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION})
    ModelOptions = LoRAXOptions
    parameters = ParameterTable.of(*(name for name in COMMON if name not in REFUSED | {"n", "best_of"}))
    catalogue = (ModelInfo(BASE, label="The deployment's base model"),)

    class Settings(ProviderSettings):
        api_key: Secret = setting("API token", default=SecretStr(""), help="Begins with pb_. LoRAX may need none.")
        tenant: str = setting("Tenant", default="", help="The tenant's id, at Predibase.", target=True, pattern=NAME)
        deployment: str = setting("Deployment", default="", help="Its name.", target=True, pattern=NAME)
        base_url: Url = setting(
            "Server URL",
            default="",
            help="Of a LoRAX server of your own, instead of tenant and deployment.",
            target=True,
            advanced=True,
            placeholder="http://lorax.internal:8080",
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            if not self.base_url and not (self.tenant and self.deployment):
                raise ValueError("Give the tenant and the deployment, or the URL of a server of your own.")
            if not self.base_url and not self.api_key.get_secret_value():
                raise ValueError("Predibase needs an API token.")
            return self

    settings: Settings  # type: ignore[assignment] # the same server, addressed in another way

    @property
    def base_url(self) -> str:
        return f"{self.root}/v1"

    @property
    def root(self) -> str:
        tenant, deployment = quote(self.settings.tenant), quote(self.settings.deployment)
        hosted = f"{SERVING}/{tenant}/deployments/v2/llms/{deployment}"
        return self.settings.base_url.removesuffix("/v1") or hosted

    def request(self, call: Call) -> Outgoing:
        adapter = self._adapter(call.target)
        if call.mode is Mode.COMPLETION:
            body = text_generation.body(call, self.table_for(call))
            body["parameters"] |= adapter
            path = "generate_stream" if call.stream else "generate"
            return Outgoing("POST", joined(self.root, path), self._headers, wire.encode(body))
        chat = {**self.body(call), "model": adapter.get("adapter_id", "")}
        return Outgoing("POST", self.url_of(call), self.headers_of(call), wire.encode(chat))

    def _adapter(self, target: Target) -> Mapping[str, str]:
        """What to lay over the base model."""
        options = LoRAXOptions.stored(target.options)
        name = options.adapter_id or target.upstream_id
        if name == BASE:
            return {}
        source = options.adapter_source or ("" if self.settings.base_url else "pbase")
        return {"adapter_id": name, **({"adapter_source": source} if source else {})}

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self.root, "health"), self._headers)

    def models(self, answer: Answer) -> list[ModelInfo]:
        return []
