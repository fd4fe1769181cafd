"""Copies of OpenAI's dialect that ask for one key, sent as a bearer token, and have one address."""

from collections.abc import Mapping
from typing import Any

from connections.providers.fields import OpenAIUrl, Secret
from connections.providers.openai_dialect import OpenAIDialect
from connections.providers.settings import ProviderSettings, setting


def own_address(home: str, help: str = "Change it only if your account has an address of its own.") -> Any:
    """A service's public address, which an admin may change."""
    return setting("Base URL", default=home, help=help, target=True, advanced=True, placeholder=home, min_length=1)


class BearerSettings(ProviderSettings):
    api_key: Secret = setting("API key", help="As the service's console shows it.", min_length=1)
    base_url: OpenAIUrl


class BearerDialect(OpenAIDialect):
    """Subclasses name the address in their `Settings`."""

    settings: BearerSettings

    @property
    def base_url(self) -> str:
        return self.settings.base_url

    def sign_in(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"}
