"""Konko: open models, and OpenAI's on the caller's own key. OpenAI's dialect; no sign of life any more."""

from collections.abc import Mapping

from pydantic import SecretStr

from connections.providers.bearer import BearerDialect, BearerSettings
from connections.providers.calls import ModelInfo
from connections.providers.contract import Retired
from connections.providers.fields import OpenAIUrl, Secret
from connections.providers.openai_addresses import archived_address
from connections.providers.settings import setting


class Konko(BearerDialect):
    kind = "konko"
    label = "Konko"
    summary = "Open models, and OpenAI's on a key of your own. No sign of life for years."
    mark = "konko"
    retired = Retired("", "Together AI or Hugging Face")
    catalogue = (ModelInfo("meta-llama/llama-2-13b-chat", family="llama", context=4096),)

    class Settings(BearerSettings):
        base_url: OpenAIUrl = archived_address()
        openai_key: Secret = setting("OpenAI key", default=SecretStr(""), help="Only for models of OpenAI.")

    settings: Settings

    def sign_in(self) -> Mapping[str, str]:
        key = self.settings.openai_key.get_secret_value()
        return {**super().sign_in(), **({"X-OpenAI-Api-Key": key} if key else {})}
