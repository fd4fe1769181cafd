"""Servers on a machine of one's own: one address, and a key only where the server was started with one."""

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from connections.providers.fields import OpenAIUrl, Secret
from connections.providers.openai_dialect import OpenAIDialect
from connections.providers.settings import ProviderSettings, setting


def server_address(example: str, help: str = "Where the server listens.") -> Any:
    return setting("Server URL", help=help, target=True, placeholder=example, min_length=1)


def optional_key(help: str) -> Any:
    return setting("API key", default=SecretStr(""), help=help)


def bearer_of(key: SecretStr) -> Mapping[str, str]:
    """The header with the key, where there is one."""
    return {"Authorization": f"Bearer {key.get_secret_value()}"} if key.get_secret_value() else {}


class ServerSettings(ProviderSettings):
    base_url: OpenAIUrl
    api_key: Secret = optional_key("Only if the server was started with --api-key.")


class OwnServer(OpenAIDialect):
    """Those that speak OpenAI's dialect. Subclasses say in their `Settings` where the server listens."""

    group = "self_hosted"
    price_provider = "local"
    """No price table has it, so a model that shares a well-known name is not priced like it."""

    settings: ServerSettings

    @property
    def base_url(self) -> str:
        return self.settings.base_url

    def sign_in(self) -> Mapping[str, str]:
        return bearer_of(self.settings.api_key)
