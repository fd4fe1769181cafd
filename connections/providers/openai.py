"""OpenAI."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from connections.providers import wire
from connections.providers.calls import Answer, Call, ModelInfo, Target
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.fields import HeaderText, OpenAIUrl, Secret
from connections.providers.openai_dialect import OpenAIDialect, Quirks
from connections.providers.openai_models import CATALOGUE, NOT_CALLED
from connections.providers.parameters import ParameterTable
from connections.providers.settings import ProviderSettings, setting

BASE_URL = "https://api.openai.com/v1"
SAMPLED = frozenset(
    {"temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias", "n"}
)
"""What reasoning models refuse, unless they are told not to reason."""
LENGTH = "max_completion_tokens"

QUIRKS: Mapping[str, Quirks] = {
    "gpt-5-chat": Quirks(frozenset({"reasoning_effort", "verbosity"}), LENGTH),
    "o1-preview": Quirks(SAMPLED | {"tools", "response_format"}, LENGTH, system_role="user"),
    "o1-mini": Quirks(SAMPLED | {"tools", "response_format"}, LENGTH, system_role="user"),
    "gpt-3.5": Quirks(frozenset({"reasoning_effort", "verbosity"}), LENGTH),
    "gpt-4": Quirks(frozenset({"reasoning_effort", "verbosity"}), LENGTH),
    "o1": Quirks(SAMPLED, LENGTH),
    "o3": Quirks(SAMPLED | {"stop"}, LENGTH),
    "o4": Quirks(SAMPLED | {"stop"}, LENGTH),
    "gpt-5": Quirks(SAMPLED | {"stop"}, LENGTH),
    "gpt-6": Quirks(SAMPLED | {"stop"}, LENGTH),
}
"""By the beginning of a model's id; the first that fits counts."""


class OpenAI(OpenAIDialect):
    kind = "openai"
    label = "OpenAI"
    summary = "GPT models and embeddings from OpenAI."
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

    def quirks(self, target: Target) -> Quirks:
        return quirks_of(target.known_as)

    def table_for(self, call: Call) -> ParameterTable:
        """Newer reasoning models take the sampling parameters while they do not reason."""
        table = super().table_for(call)
        if wire.plain(call.body.get("reasoning_effort")) != "none" or self.known(call.target).options.drop is not None:
            return table
        return table.changed(**{name: rule for name, rule in self.parameters.rules.items() if name in SAMPLED})

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        info = super().model(item)
        if info is None or any(part in info.id for part in NOT_CALLED):
            return None
        known = next((known for known in CATALOGUE if known.id == info.id), None)
        return known or ModelInfo(info.id, info.mode, lifecycle=_lifecycle(item), ends=item.get("shutdown_date") or "")

    def check_problem(self, answer: Answer) -> ProviderError | None:
        if answer.status == 404:
            return RequestRefused("Nothing answers under this base URL. Does it end in /v1?", status=404)
        return super().check_problem(answer)


@cache
def quirks_of(name: str) -> Quirks:
    """Also of a model that was fine-tuned: `ft:gpt-4o:company::id`."""
    name = name.removeprefix("ft:")
    return next((quirks for start, quirks in QUIRKS.items() if name.startswith(start)), Quirks(max_tokens=LENGTH))


def _lifecycle(item: Mapping[str, Any]) -> str:
    return "deprecated" if item.get("shutdown_date") else ""
