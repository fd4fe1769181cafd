"""The server inside the GPT4All desktop application: OpenAI's routes, whole answers, models by display name."""

from collections.abc import Mapping

from connections.providers.calls import Mode, ModelInfo, Target
from connections.providers.contract import Abilities
from connections.providers.fields import OpenAIUrl
from connections.providers.openai_dialect import OpenAIDialect
from connections.providers.parameters import ParameterTable
from connections.providers.settings import ProviderSettings, setting

WHOLE = Abilities(streams=False, prompts=1)


class GPT4All(OpenAIDialect):
    kind = "gpt4all"
    label = "GPT4All"
    summary = "Models in the GPT4All application, with its local API server switched on."
    mark = "gpt4all"
    group = "self_hosted"
    docs_url = "https://docs.gpt4all.io/gpt4all_api_server/home.html"
    price_provider = "local"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION})
    parameters = ParameterTable.of("temperature", "top_p", "min_p", "max_tokens", "n")
    catalogue = (
        ModelInfo("Phi-3 Mini Instruct", family="phi", context=4096),
        ModelInfo("Llama 3 8B Instruct", family="llama", context=8192),
    )

    class Settings(ProviderSettings):
        base_url: OpenAIUrl = setting(
            "Server URL",
            default="http://localhost:4891/v1",
            help="The application listens on its own machine only; another one needs a tunnel or proxy.",
            target=True,
            placeholder="http://localhost:4891/v1",
            min_length=1,
        )

    settings: Settings

    @property
    def base_url(self) -> str:
        return self.settings.base_url

    def sign_in(self) -> Mapping[str, str]:
        return {}

    def abilities(self, target: Target) -> Abilities:
        return WHOLE
