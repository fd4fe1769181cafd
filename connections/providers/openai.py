"""OpenAI."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connections.providers.calls import Answer, Mode, ModelInfo
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.fields import HeaderText, OpenAIUrl, Secret
from connections.providers.openai_family import OpenAIFamily
from connections.providers.openai_models import CATALOGUE, DRAWS, NOT_CALLED
from connections.providers.settings import ProviderSettings, setting

BASE_URL = "https://api.openai.com/v1"


class OpenAI(OpenAIFamily):
    kind = "openai"
    label = "OpenAI"
    summary = "GPT models, pictures and embeddings from OpenAI."
    mark = "openai"
    order = 10
    docs_url = "https://platform.openai.com/api-keys"
    catalogue = CATALOGUE
    price_provider = "openai"

    class Settings(ProviderSettings):
        api_key: Secret = setting("API key", help="Begins with sk-. A key of a service account is best.")
        base_url: OpenAIUrl = setting(
            "Base URL",
            default=BASE_URL,
            help="Change it only for a regional address such as https://eu.api.openai.com/v1.",
            target=True,
            advanced=True,
            placeholder=BASE_URL,
        )
        organization: HeaderText = setting("Organization", default="", help="For keys of several.", advanced=True)
        project: HeaderText = setting("Project", default="", help="For keys of several.", advanced=True)

    settings: Settings

    @property
    def base_url(self) -> str:
        return self.settings.base_url or BASE_URL

    def sign_in(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"}

    def extra_headers(self) -> Mapping[str, str]:
        named = {"OpenAI-Organization": self.settings.organization, "OpenAI-Project": self.settings.project}
        return {name: value for name, value in named.items() if value}

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        """What the list says of a model's end is newer than our catalogue."""
        info = super().model(item)
        if info is None or any(part in info.id for part in NOT_CALLED):
            return None
        known = next((known for known in CATALOGUE if known.id == info.id), None)
        mode = Mode.IMAGE if any(part in info.id for part in DRAWS) else info.mode
        found, ends = known or ModelInfo(info.id, mode), item.get("shutdown_date")
        return replace(found, lifecycle="deprecated", ends=ends) if ends and isinstance(ends, str) else found

    def check_problem(self, answer: Answer) -> ProviderError | None:
        if answer.status == 404:
            return RequestRefused("Nothing answers under this base URL. Does it end in /v1?", status=404)
        return super().check_problem(answer)
