"""Cohere: chats, embeddings and rerankings of the second version of its API; the first for its first models."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal
from urllib.parse import quote

from msgspec import structs
from pydantic import AfterValidator

from connections.providers import cohere_replies, problems, wire
from connections.providers.calls import JSON, Answer, Call, Framing, Mode, ModelInfo, Outgoing, Reply, Steps, Target
from connections.providers.cohere_models import CATALOGUE, CONTINUES, described, thinks
from connections.providers.cohere_replies import ChatReader
from connections.providers.cohere_requests import CHAT, RERANK, chat_body, rerank_body
from connections.providers.contract import NOTHING, Abilities, Auth, EventReader, Provider, StaticHeaders
from connections.providers.errors import ContextTooLong, ProviderError
from connections.providers.fields import HeaderText, Secret, Url, joined
from connections.providers.model_families.cohere_chat import CohereChat
from connections.providers.model_families.cohere_embed import CohereEmbed
from connections.providers.model_families.cohere_text import CohereText
from connections.providers.model_families.family import Family
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.prompt_formats import PromptOptions, Rendered
from connections.providers.settings import ProviderSettings, setting
from connections.providers.shapes import mapping, string

BASE_URL = "https://api.cohere.com"
PAGE = 1000
MAX_PAGES = 20
TOO_LONG = re.compile(r"too many tokens", re.IGNORECASE)
AS: Mapping[int, int] = {498: 401, 499: 504}
"""Statuses of Cohere's own, and the common ones that they amount to: a refused key, and a request given up."""


class Generate(CohereText):
    """The old route, which knows more parameters than the clouds that host the same models."""

    parameters = CohereText.parameters.changed(
        seed=Rule(),
        frequency_penalty=Rule(minimum=0, maximum=1),
        presence_penalty=Rule(minimum=0, maximum=1),
        stop=Rule("end_sequences"),  # what it calls stop_sequences stays in the text
    )


GENERATE, FIRST_CHAT, EMBED = Generate(), CohereChat(), CohereEmbed()


def _without_version(url: str) -> str:
    return url.removesuffix("/v1").removesuffix("/v2")


class CohereOptions(PromptOptions):
    chat_version: Literal["auto", "v1", "v2"] = setting(
        "Version of the chat API",
        default="auto",
        help="auto: v2, and v1 for the first Command models. v1 knows no images, no JSON schemas and no thinking.",
        advanced=True,
    )
    thinking: Literal["auto", "yes", "no"] = setting(
        "Thinks",
        default="auto",
        help="Whether the model takes a reasoning effort. auto: as its name tells.",
        advanced=True,
    )


UNSET = CohereOptions()


class Cohere(Provider):
    kind = "cohere"
    label = "Cohere"
    summary = "Command, Embed and Rerank models from Cohere."
    mark = "cohere"
    order = 60
    docs_url = "https://dashboard.cohere.com/api-keys"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.RERANK})
    catalogue = CATALOGUE
    price_provider = "cohere"
    parameters = CHAT
    ModelOptions: ClassVar[type[CohereOptions]] = CohereOptions

    class Settings(ProviderSettings):
        api_key: Secret = setting("API key", help="A production or trial key from the dashboard.")
        base_url: Annotated[Url, AfterValidator(_without_version)] = setting(
            "Base URL",
            default=BASE_URL,
            help="Change it only for a private deployment or a gateway that speaks Cohere's dialect.",
            target=True,
            advanced=True,
            placeholder=BASE_URL,
        )
        client_name: HeaderText = setting(
            "Client name", default="", help="Sent as X-Client-Name, for Cohere's own statistics.", advanced=True
        )

    settings: Settings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        self._secrets = self.secrets()
        self._auth = StaticHeaders({"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"})
        named = {"X-Client-Name": self.settings.client_name} if self.settings.client_name else {}
        self._headers = {"Content-Type": "application/json", **named}
        self._base_url = self.settings.base_url or BASE_URL

    @property
    def auth(self) -> Auth:
        return self._auth

    # --- every call ---

    def request(self, call: Call) -> Outgoing:
        path, body = self._asked(call)
        return Outgoing("POST", joined(self._base_url, path), self._headers, wire.encode(body))

    def _asked(self, call: Call) -> tuple[str, JSON]:
        """The route, and what is sent there."""
        named = {"model": call.target.upstream_id}
        match call.mode:
            case Mode.EMBEDDING:
                return "v2/embed", {**named, **EMBED.body(call)}
            case Mode.RERANK:
                return "v2/rerank", rerank_body(call, RERANK)
            case Mode.COMPLETION:
                return "v1/generate", {**named, **GENERATE.body(call)}
        if family := self._family(call.target):
            return "v1/chat", {**named, **family.body(call), "stream": call.stream}
        return "v2/chat", chat_body(call, self.parameters_for(call.target))

    def reply(self, call: Call, answer: Answer) -> Reply:
        if call.mode is Mode.RERANK:
            return cohere_replies.ranked(answer.body, self._secrets)
        if family := self._family(call.target):
            return family.reply(call, answer.body, self._secrets)
        return cohere_replies.completion(answer.body, self._secrets)

    def events(self, call: Call) -> EventReader:
        if family := self._family(call.target):
            return family.events(call, self._secrets)
        return ChatReader(self._secrets, call.wants_usage)

    def framing_of(self, call: Call) -> Framing:
        return Framing.NDJSON if self._family(call.target) else Framing.SSE

    def problem(self, answer: Answer) -> ProviderError:
        error = problems.named(structs.replace(answer, status=AS.get(answer.status, answer.status)), self._secrets)
        if answer.status == 400 and TOO_LONG.search(error.evidence):
            error = ContextTooLong(problems.SENTENCES[ContextTooLong], evidence=error.evidence)
        error.status = answer.status
        return error

    # --- checks and lists ---

    def check(self) -> Outgoing:
        return self._page("")

    def _page(self, token: str) -> Outgoing:
        after = f"&page_token={token}" if token else ""
        return Outgoing("GET", joined(self._base_url, "v1/models", f"page_size={PAGE}{after}"), self._headers)

    def models(self, answer: Answer) -> list[ModelInfo]:
        content = wire.decode(wire.ANY, answer.body, self._secrets)
        listed = content.get("models") if isinstance(content, dict) else None
        if not isinstance(listed, list):
            raise problems.unreadable(answer.body, self._secrets)
        found = [described(item) for item in listed if isinstance(item, dict)]
        return [info for info in found if info is not None]

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        """Page by page, as long as each names the next."""
        found = self.models(answer)
        for _ in range(MAX_PAGES):
            token = string(mapping(wire.decode(wire.ANY, answer.body, self._secrets)), "next_page_token")
            if not token:
                break
            answer = yield self._page(quote(token, safe=""))
            if answer.status >= 300:
                raise self.problem(answer)
            found += self.models(answer)
        return found

    # --- one model ---

    def parameters_for(self, target: Target) -> ParameterTable:
        if target.mode is Mode.RERANK:
            return RERANK
        if family := self._family(target):
            return family.parameters_for(target)
        thinking = _options(target).thinking
        able = thinks(target.known_as) if thinking == "auto" else thinking == "yes"
        return CHAT if able else CHAT.without("reasoning_effort")

    def abilities(self, target: Target) -> Abilities:
        family = self._family(target)
        return family.abilities(target) if family else Abilities(choices=1)

    def prompt(self, call: Call) -> Rendered:
        return GENERATE.prompt(call)

    @staticmethod
    def _family(target: Target) -> Family | None:
        """Who speaks for a model whose route is shared with other clouds; None: the second version's own routes."""
        if target.mode is Mode.CHAT:
            chosen = _options(target).chat_version
            first = target.known_as in CONTINUES if chosen == "auto" else chosen == "v1"
            return FIRST_CHAT if first else None
        return {Mode.COMPLETION: GENERATE, Mode.EMBEDDING: EMBED}.get(target.mode)


def _options(target: Target) -> CohereOptions:
    return CohereOptions.stored(target.options) if target.options else UNSET
