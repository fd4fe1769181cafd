"""Google's Gemini API for developers, the successor of PaLM's."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator

from connections.providers.calls import Answer, Call, Mode, ModelInfo, Outgoing, Steps
from connections.providers.contract import NOTHING, Auth, Provider, StaticHeaders
from connections.providers.fields import Secret, Url, in_path, joined
from connections.providers.gemini_families import GeminiChat, GeminiImages
from connections.providers.gemini_models import DEVELOPER_CATALOGUE
from connections.providers.google_embeddings import BatchedEmbeddings
from connections.providers.google_family import GoogleFamily
from connections.providers.google_host import GoogleHost, bare_name
from connections.providers.model_families.family import Family
from connections.providers.settings import ProviderSettings, setting
from connections.providers.shapes import mappings, string

BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
PAGE, MAX_PAGES = 1000, 10
FAMILIES: Mapping[Mode, GoogleFamily] = {
    Mode.CHAT: GeminiChat(image_urls=False),
    Mode.IMAGE: GeminiImages(),
    Mode.EMBEDDING: BatchedEmbeddings(),
}
DRAWS, EMBEDS, CHATS = "-image", "embedContent", "generateContent"


class Gemini(GoogleHost):
    kind = "gemini"
    label = "Google Gemini API"
    summary = "Gemini models with a key of Google AI Studio."
    mark = "gemini"
    order = 30
    docs_url = "https://aistudio.google.com/apikey"
    modes = frozenset(FAMILIES)
    families = FAMILIES
    catalogue = DEVELOPER_CATALOGUE

    class Settings(ProviderSettings):
        api_key: Secret = setting("API key", help="From Google AI Studio; begins with AIza.", min_length=1)
        base_url: Annotated[Url, AfterValidator(lambda url: url or BASE_URL)] = setting(
            "Base URL",
            default=BASE_URL,
            help="Change it only for a gateway that speaks Gemini's dialect.",
            target=True,
            advanced=True,
            placeholder=BASE_URL,
        )

    settings: Settings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        self._auth = StaticHeaders({"x-goog-api-key": self.settings.api_key.get_secret_value()})

    @property
    def auth(self) -> Auth:
        return self._auth

    def url(self, call: Call, family: Family) -> str:
        model, operation = bare_name(call.target.upstream_id), FAMILIES[call.mode].operation(call)
        kind = "tunedModels" if call.target.upstream_id.startswith("tunedModels/") else "models"
        query = "alt=sse" if operation.startswith("stream") else ""
        return joined(self.settings.base_url, f"{kind}/{in_path(model)}:{operation}", query)

    # --- checks and lists ---

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self.settings.base_url, "models", f"pageSize={PAGE}"))

    def models(self, answer: Answer) -> list[ModelInfo]:
        return [info for item in self._listed(answer)[0] if (info := _model(item))]

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        found = self.models(answer)
        for _ in range(MAX_PAGES):
            page = self._listed(answer)[1]
            if not page:
                break
            query = f"pageSize={PAGE}&pageToken={quote(page, safe='')}"
            answer = yield Outgoing("GET", joined(self.settings.base_url, "models", query))
            if answer.status >= 300:
                raise self.problem(answer)
            found += self.models(answer)
        return found

    def _listed(self, answer: Answer) -> tuple[list[Mapping[str, Any]], str]:
        """What stands on this page, and the name of the next one."""
        content = self.listed(answer)
        return mappings(content["models"]), string(content, "nextPageToken")


def _model(item: Mapping[str, Any]) -> ModelInfo | None:
    """None: a model for something that we do not ask, such as speech."""
    name, methods = item.get("name"), item.get("supportedGenerationMethods")
    if not isinstance(name, str) or not isinstance(methods, list):
        return None
    name = name.removeprefix("models/")
    mode = Mode.IMAGE if DRAWS in name else Mode.EMBEDDING if EMBEDS in methods else Mode.CHAT
    if not {EMBEDS, CHATS} & {method for method in methods if isinstance(method, str)}:
        return None
    known = next((known for known in DEVELOPER_CATALOGUE if known.id == name), ModelInfo(name, mode))
    context, most = item.get("inputTokenLimit"), item.get("outputTokenLimit")
    label = item.get("displayName")
    return ModelInfo(
        name,
        mode,
        label=label if isinstance(label, str) else known.label,
        family=known.family or "gemini",
        context=context if isinstance(context, int) else known.context,
        max_output=most if isinstance(most, int) and mode is Mode.CHAT else known.max_output,
        capabilities=known.capabilities,
        lifecycle=known.lifecycle,
        ends=known.ends,
        replacement=known.replacement,
    )
