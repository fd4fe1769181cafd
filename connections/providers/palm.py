"""Google's PaLM API for developers, as archived and private endpoints still speak it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connections.providers import problems
from connections.providers.bison import answers, conversation, plain_parameters
from connections.providers.calls import JSON, Answer, Call, Mode, ModelInfo, Outgoing, Reply, Usage
from connections.providers.contract import NOTHING, Abilities, Auth, Provider, Retired, StaticHeaders
from connections.providers.errors import ContentFiltered
from connections.providers.fields import Secret, Url, in_path, joined
from connections.providers.google_family import GoogleFamily
from connections.providers.google_host import GoogleHost, bare_name
from connections.providers.model_families.family import NOT_TOLD, Family, text_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.settings import ProviderSettings, setting
from connections.providers.shapes import completion_reply, decoded, mappings, string

MESSAGES = ParameterTable.of(
    temperature=Rule(minimum=0, maximum=1), top_p=Rule("topP"), top_k=Rule("topK"), n=Rule("candidateCount")
)
TEXTS = MESSAGES.changed(max_tokens=Rule("maxOutputTokens"), stop=Rule("stopSequences"))
FILTERED = "The provider's filter let no answer through. Change the prompt."
SUCCESSOR = "gemini-3.8-flash"


class PalmMessages(GoogleFamily):
    name = "palm_messages"
    mode = Mode.CHAT
    parameters = MESSAGES
    whole = "generateMessage"
    can: ClassVar[Abilities] = Abilities(streams=False, choices=8, image_urls=False)

    def body(self, call: Call) -> JSON:
        given = plain_parameters(call, self.parameters)
        context, messages = conversation(call, given.pop("messages"))
        return {"prompt": {**({"context": context} if context else {}), "messages": messages}, **given}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        return answers(_texts(body, secrets, "content"), told, call.target.upstream_id)


class PalmTexts(GoogleFamily):
    name = "palm_texts"
    mode = Mode.COMPLETION
    parameters = TEXTS
    whole = "generateText"
    can: ClassVar[Abilities] = Abilities(streams=False, choices=8, prompts=1)

    def body(self, call: Call) -> JSON:
        given = plain_parameters(call, self.parameters)
        return {"prompt": {"text": text_of(given.pop("prompt"))}, **given}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        texts = _texts(body, secrets, "output")
        return completion_reply([(text, "stop") for text in texts], told, model=call.target.upstream_id)


def _texts(body: bytes, secrets: Sequence[str], name: str) -> list[str]:
    """The answers, which stand under this name. Raises ContentFiltered where the filter left none."""
    content = decoded(body, secrets)
    texts = [item[name] for item in mappings(content.get("candidates")) if isinstance(item.get(name), str)]
    if not texts and (reasons := [string(item, "reason") for item in mappings(content.get("filters"))]):
        raise ContentFiltered(FILTERED, evidence=" ".join(filter(None, reasons)))
    if not texts:
        raise problems.unreadable(body, secrets)
    return texts


FAMILIES: Mapping[Mode, GoogleFamily] = {Mode.CHAT: PalmMessages(), Mode.COMPLETION: PalmTexts()}
METHODS: Mapping[str, Mode] = {"generateMessage": Mode.CHAT, "generateText": Mode.COMPLETION}


class Palm(GoogleHost):
    kind = "palm"
    label = "Google PaLM API"
    summary = "PaLM's chat and text models behind an archived or private endpoint."
    mark = "gemini"
    order = 95
    retired = Retired("2025-04-09", "Google Gemini API")
    modes = frozenset(FAMILIES)
    families = FAMILIES
    catalogue = (
        ModelInfo("chat-bison-001", label="PaLM 2 Chat Bison", family="palm", lifecycle="retired", ends="2025-04-09",
                  replacement=SUCCESSOR),
        ModelInfo("text-bison-001", Mode.COMPLETION, label="PaLM 2 Text Bison", family="palm", lifecycle="retired",
                  ends="2025-04-09", replacement=SUCCESSOR),
    )  # fmt: skip

    class Settings(ProviderSettings):
        base_url: Url = setting(
            "Base URL",
            help="The address in front of /models. Google's own is switched off.",
            target=True,
            placeholder="https://palm.example.com/v1beta2",
            min_length=1,
        )
        api_key: Secret = setting("API key", help="Sent in the header x-goog-api-key.", min_length=1)

    settings: Settings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        self._auth = StaticHeaders({"x-goog-api-key": self.settings.api_key.get_secret_value()})

    @property
    def auth(self) -> Auth:
        return self._auth

    def url(self, call: Call, family: Family) -> str:
        model, operation = bare_name(call.target.upstream_id), FAMILIES[call.mode].whole
        return joined(self.settings.base_url, f"models/{in_path(model)}:{operation}")

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self.settings.base_url, "models"))

    def models(self, answer: Answer) -> list[ModelInfo]:
        return [info for item in mappings(self.listed(answer)["models"]) if (info := _model(item))]


def _model(item: Mapping[str, Any]) -> ModelInfo | None:
    """None: a model for something that we do not ask."""
    name, methods = string(item, "name").removeprefix("models/"), item.get("supportedGenerationMethods")
    given = methods if isinstance(methods, list) else []
    mode = next((mode for method, mode in METHODS.items() if method in given), None)
    return ModelInfo(name, mode, label=string(item, "displayName"), family="palm") if name and mode else None
