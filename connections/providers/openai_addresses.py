"""Services that speak OpenAI's dialect and differ by name and address only: a row each."""

from dataclasses import dataclass
from typing import Any

from pydantic import create_model

from connections.providers.bearer import BearerDialect, BearerSettings, own_address
from connections.providers.calls import Mode, ModelInfo
from connections.providers.contract import Provider, Retired
from connections.providers.fields import OpenAIUrl, Secret, Url
from connections.providers.settings import setting

TEXTS = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING})


@dataclass(frozen=True, slots=True)
class Row:
    kind: str
    label: str
    summary: str
    home: str = ""
    """Its public address; empty: it has none any more, so an admin names the endpoint that is left."""
    bare: bool = False
    """Whether its routes stand below the host itself, without `/v1`."""
    key: str = ""
    """What its key begins with."""
    docs_url: str = ""
    modes: frozenset[Mode] = TEXTS
    catalogue: tuple[ModelInfo, ...] = ()
    retired: Retired | None = None

    def settings(self) -> type[BearerSettings]:
        address = own_address(self.home) if self.home else archived_address()
        key = setting("API key", help=f"Begins with {self.key}." if self.key else "As it was given out.", min_length=1)
        url = Url if self.bare else OpenAIUrl
        return create_model("Settings", __base__=BearerSettings, api_key=(Secret, key), base_url=(url, address))

    def provider(self) -> type[Provider]:
        shown = {"kind": self.kind, "label": self.label, "summary": self.summary, "docs_url": self.docs_url}
        told: dict[str, Any] = {"modes": self.modes, "catalogue": self.catalogue, "retired": self.retired}
        return type(self.label, (BearerDialect,), {**shown, **told, "mark": self.kind, "Settings": self.settings()})


def archived_address() -> Any:
    return setting(
        "Base URL",
        help="Of an endpoint that still speaks this service's dialect: the service itself is switched off.",
        target=True,
        placeholder="https://archive.example.com/v1",
        min_length=1,
    )


ROWS = (
    Row(
        "anyscale",
        "Anyscale Endpoints",
        "Open models on Ray. The shared endpoints are closed; private services remain.",
        key="esecret_",
        catalogue=(ModelInfo("meta-llama/Meta-Llama-3-8B-Instruct", family="llama", context=8192),),
        retired=Retired("2024-08-01", "a private Anyscale service"),
    ),
    Row(
        "everlyai",
        "EverlyAI",
        "Llama models at a fixed price. No sign of life for years.",
        modes=frozenset({Mode.CHAT}),
        catalogue=(ModelInfo("meta-llama/Llama-2-7b-chat-hf", family="llama", context=4096),),
        retired=Retired("", "Together AI or Hugging Face"),
    ),
    Row(
        "llama_api",
        "Llama API (community)",
        "Open models behind one key, once at llama-api.com.",
        home="https://api.llmapi.com",
        bare=True,
        docs_url="https://llmapi.com",
        modes=frozenset({Mode.CHAT}),
        catalogue=(ModelInfo("llama3.1-8b", family="llama", context=131_072),),
    ),
    Row(
        "digitalocean_gradient",
        "DigitalOcean Gradient",
        "Open and commercial models at DigitalOcean; also the address of one agent.",
        home="https://inference.do-ai.run/v1",
        docs_url="https://cloud.digitalocean.com/gen-ai",
        modes=frozenset({Mode.CHAT}),
        catalogue=(
            ModelInfo("llama3.3-70b-instruct", family="llama"),
            ModelInfo("openai-gpt-4o", family="gpt"),
            ModelInfo("alibaba-qwen3-32b", family="qwen"),
        ),
    ),
)
PROVIDERS = tuple(row.provider() for row in ROWS)
"""The registry finds the classes by themselves; this keeps them."""
