"""Google Vertex AI: Gemini, Imagen and PaLM, Claude as Google hosts it, and the endpoints of a project."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal, Self
from urllib.parse import quote

import msgspec
from msgspec import structs
from pydantic import AfterValidator, SecretStr, model_validator

from connections.providers import vertex_lists, wire
from connections.providers.bison import ChatBison, TextBison
from connections.providers.calls import Answer, Call, InThread, Mode, ModelInfo, Outgoing, Steps, Target
from connections.providers.contract import NOTHING, Auth, Provider
from connections.providers.errors import KeyRefused, ModelMissing, ProviderError, RequestRefused
from connections.providers.fields import HeaderText, Url, in_path, joined
from connections.providers.gemini_families import GeminiChat, GeminiImages
from connections.providers.gemini_models import FLASH, VERTEX_CATALOGUE, Wire, wire_of
from connections.providers.google_auth import AmbientToken, GoogleToken
from connections.providers.google_credentials import TOKEN_URL, CredentialText, credential_of
from connections.providers.google_embeddings import ContentEmbeddings, PredictedEmbeddings
from connections.providers.google_family import GoogleFamily
from connections.providers.google_host import JSON_BODY, GoogleHost, bare_name
from connections.providers.imagen import Imagen
from connections.providers.model_families.claude_messages import VERTEX_VERSION, ClaudeMessages
from connections.providers.model_families.family import Family
from connections.providers.settings import ProviderSettings, setting
from connections.providers.vertex_open_models import PATH as OPEN_PATH
from connections.providers.vertex_open_models import OpenModels
from connections.providers.vertex_places import WITH_THEIR_OWN_DIALECT, Location, Project, host_of, place_of

PAGE, MAX_PAGES = 100, 10
FAMILIES: Mapping[Wire, GoogleFamily] = {
    "gemini": GeminiChat(image_urls=True),
    "gemini_image": GeminiImages(),
    "imagen": Imagen(),
    "predict_embedding": PredictedEmbeddings(),
    "content_embedding": ContentEmbeddings(),
    "chat_bison": ChatBison(),
    "text_bison": TextBison(),
}
OPEN_MODELS = OpenModels()


class Vertex(GoogleHost):
    kind = "vertex"
    label = "Google Vertex AI"
    summary = "Gemini, Imagen and Claude in a Google Cloud project, and the project's own endpoints."
    mark = "vertex"
    order = 32
    docs_url = "https://console.cloud.google.com/iam-admin/serviceaccounts"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE})
    catalogue = VERTEX_CATALOGUE
    checks_by_post = True

    class Settings(ProviderSettings):
        credentials: CredentialText = setting(
            "Credentials (JSON)",
            default=SecretStr(""),
            help="The whole key file of a service account with the role Vertex AI User, or that of a signed-in user.",
            multiline=True,
            placeholder='{ "type": "service_account", …',
        )
        location: Location = setting(
            "Location", default="global", help="Like europe-west4, or global, us or eu.", target=True
        )
        project: Project = setting(
            "Project",
            default="",
            help="Needed unless the credentials name the project.",
            target=True,
            placeholder="my-project-1234",
        )
        sign_in: Literal["credentials", "ambient"] = setting(
            "Sign-in",
            default="credentials",
            help="ambient: the identity of this machine, if the deployment allows that.",
            target=True,
            advanced=True,
        )
        quota_project: Project = setting(
            "Quota project", default="", help="Another project that is charged for the calls.", advanced=True
        )
        check_model: Annotated[str, AfterValidator(str.strip)] = setting(
            "Model for checks",
            default=FLASH,
            help="Checks have it count tokens, which costs nothing. The location must offer it.",
            advanced=True,
            max_length=200,
            min_length=1,
        )
        claude_version: Literal["vertex-2023-10-16", "2026-10-21"] = setting(
            "API version for Claude",
            default=VERTEX_VERSION,
            help="2026-10-21 takes no temperature, top_p and top_k; they are left out then.",
            advanced=True,
        )
        claude_beta: HeaderText = setting(
            "Beta features of Claude",
            default="",
            help="Names for the anthropic-beta header, with commas.",
            advanced=True,
        )
        base_url: Url = setting(
            "Base URL",
            default="",
            help="Only for a private endpoint in place of Google's public address of the location.",
            target=True,
            advanced=True,
            placeholder="https://us-central1-aiplatform.googleapis.com",
        )
        sign_in_url: Url = setting(
            "Sign-in URL",
            default=TOKEN_URL,
            help="Where credentials are traded for tokens. Only for a private endpoint of Google's.",
            target=True,
            advanced=True,
            placeholder=TOKEN_URL,
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            given = self.credentials.get_secret_value()
            if self.sign_in == "ambient" and given:
                raise ValueError("Sign-in is ambient: leave the credentials empty, or choose sign-in by credentials.")
            if self.sign_in == "credentials" and not given:
                raise ValueError("Paste the credentials as JSON.")
            if not self.project and not (given and credential_of(given).project):
                raise ValueError("Name the project: the credentials do not.")
            if self.sign_in == "credentials" and not self.sign_in_url:
                raise ValueError("The sign-in URL is empty. Google's is " + TOKEN_URL)
            return self

    settings: Settings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        given, quota = self.settings.credentials.get_secret_value(), self.settings.quota_project
        credential = credential_of(given) if given else None
        self._auth = GoogleToken(credential, self.settings.sign_in_url, quota) if credential else AmbientToken(quota)
        project = self.settings.project or (credential.project if credential else "")
        self._host = self.settings.base_url or host_of(self.settings.location)
        self._parent = f"v1/projects/{project}/locations/{self.settings.location}"
        self._claude = ClaudeMessages(self.settings.claude_version)

    # --- every call ---

    @property
    def auth(self) -> Auth:
        return self._auth

    def secrets(self) -> list[str]:
        """The parts of the JSON that are secret, and the tokens: the rest of it may show in what Google says."""
        return self._auth.secrets()

    def family(self, target: Target) -> Family:
        publisher = place_of(target.upstream_id).publisher
        if publisher == "anthropic":
            return self._claude
        if publisher != "google":
            return OPEN_MODELS
        return FAMILIES[wire_of(bare_name(target.known_as), target.mode)]

    def url(self, call: Call, family: Family) -> str:
        place = place_of(call.target.upstream_id)
        if place.publisher in WITH_THEIR_OWN_DIALECT:
            raise RequestRefused(f"Models of {place.publisher} are not called through Vertex AI here.", status=400)
        if family is OPEN_MODELS:
            return joined(self._host, f"{self._parent}/{OPEN_PATH}")
        operation = family.operation(call) if isinstance(family, GoogleFamily) else _raw(call)
        query = "alt=sse" if operation == "streamGenerateContent" else ""
        return joined(self._host, f"{self._parent}/{place.path}:{operation}", query)

    def request(self, call: Call) -> Outgoing:
        outgoing = super().request(call)
        if self.family(call.target) is not self._claude:
            return outgoing
        beta = {"anthropic-beta": self.settings.claude_beta} if self.settings.claude_beta else {}
        body = wire.encode({**msgspec.json.decode(outgoing.body), "stream": True}) if call.stream else outgoing.body
        return structs.replace(outgoing, headers={**outgoing.headers, **beta}, body=body)

    # --- checks and lists ---

    def check(self) -> Outgoing:
        url = joined(
            self._host, f"{self._parent}/publishers/google/models/{in_path(self.settings.check_model, '@')}:countTokens"
        )
        return Outgoing(
            "POST", url, JSON_BODY, wire.encode({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]})
        )

    def check_problem(self, answer: Answer) -> ProviderError | None:
        problem = super().check_problem(answer)
        if isinstance(problem, ModelMissing):
            words = f"The location {self.settings.location} has no {self.settings.check_model}. Change one of them."
            return ModelMissing(words, evidence=problem.evidence, status=answer.status)
        return problem

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        endpoints = yield from self._pages(f"{self._parent}/endpoints")
        models = yield from self._pages(f"{self._parent}/models") if endpoints else _nothing()
        own = (yield InThread(partial(vertex_lists.own, endpoints, models))) if endpoints else []
        published = yield from self._pages("v1beta1/publishers/google/models")
        return [*own, *vertex_lists.published(published, self.secret_texts)]

    def _pages(self, path: str) -> Steps[list[bytes]]:
        """What a list holds; nothing, where the account or the location does not have it."""
        pages: list[bytes] = []
        token = ""
        while len(pages) < MAX_PAGES and (token or not pages):
            query = f"pageSize={PAGE}" + (f"&pageToken={quote(token, safe='')}" if token else "")
            answer = yield Outgoing("GET", joined(self._host, path, query))
            problem = self.problem(answer) if answer.status >= 300 else None
            if isinstance(problem, KeyRefused | ModelMissing) or answer.status in {400, 501}:
                break
            if problem:
                raise problem
            pages.append(answer.body)
            token = vertex_lists.next_page(answer.body, self.secret_texts)
        return pages


def _nothing() -> Steps[list[bytes]]:
    return []
    yield


def _raw(call: Call) -> str:
    """The operations of models whose own dialect Google passes through."""
    return "streamRawPredict" if call.stream else "rawPredict"
