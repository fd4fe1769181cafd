"""Models of other makers at Azure: each endpoint has a Target URI, which the deployment's page shows.

Serverless endpoints, managed online endpoints of Azure Machine Learning, and the inference routes of Foundry.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

from msgspec import structs
from pydantic import AfterValidator, SecretStr, model_validator

from connections.providers import problems, wire
from connections.providers.calls import Answer, Call, Mode, ModelInfo, Outgoing, Target
from connections.providers.contract import Auth, StaticHeaders
from connections.providers.entra import EntraSettings, client_token
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.fields import Address, Headers, Secret, SecretHeaders, named_twice, tidy_address
from connections.providers.openai_dialect import DialectOptions, OpenAIDialect, Quirks
from connections.providers.openai_family import quirks_if_known
from connections.providers.settings import setting

PATHS: Mapping[Mode, str] = {
    Mode.CHAT: "/chat/completions",
    Mode.COMPLETION: "/completions",
    Mode.EMBEDDING: "/embeddings",
}
"""The longer one of two that end alike comes first."""
SCORE = "/score"
FOUNDRY = ".services.ai.azure.com"
BY_KEY = (".openai.azure.com", FOUNDRY, ".cognitiveservices.azure.com")
"""Hosts that read the key in a header of its own."""
INFERENCE_VERSION = "api-version=2024-05-01-preview"
ML_SCOPE = "https://ml.azure.com/.default"
SCOPE = "https://cognitiveservices.azure.com/.default"
CONTAINER_FAILED = 424


def _target_uri(uri: str) -> str:
    parts = urlsplit(uri)
    if (parts.hostname or "").endswith(".openai.azure.com") and not parts.path:
        raise ValueError("Paste the whole Target URI, with its path, or use an Azure OpenAI connection.")
    return uri


def _model_uri(uri: str) -> str:
    """A whole address, or its path alone."""
    if not uri.startswith("/"):
        return tidy_address(uri)
    if uri.startswith("//"):
        raise ValueError("A path begins with one / only.")
    return urlunsplit(urlsplit(tidy_address(f"https://host{uri}"))._replace(scheme="", netloc=""))


class AzureLLMOptions(DialectOptions):
    target_uri: Annotated[str, AfterValidator(_model_uri)] = setting(
        "Target URI",
        default="",
        help="Of this model, where it differs from its connection's: on the same host, whole or its path alone.",
    )


class AzureLLM(OpenAIDialect):
    kind = "azure_llm"
    label = "Azure LLM"
    summary = "Models of other makers at Azure AI Foundry and Azure Machine Learning, by their Target URI."
    mark = "azure"
    order = 21
    docs_url = "https://learn.microsoft.com/azure/ai-foundry/"
    price_provider = "azure"
    ModelOptions: ClassVar[type[AzureLLMOptions]] = AzureLLMOptions

    class Settings(EntraSettings):
        target_uri: Annotated[Address, AfterValidator(_target_uri)] = setting(
            "Target URI",
            help="As the deployment's page shows it. With a path for chats or embeddings it is called as it is.",
            target=True,
            placeholder="https://my-endpoint.eastus2.models.ai.azure.com",
            min_length=1,
        )
        sign_in: Literal["auto", "bearer", "api-key", "entra"] = setting(
            "Sign-in", default="auto", help="auto: the key in the header that this host reads.", target=True
        )
        api_key: Secret = setting("Key", default=SecretStr(""), help="For every sign-in but entra.")
        model_name: Literal["body", "header", "none"] = setting(
            "Where the model's id goes",
            default="body",
            help="header: azureml-model-deployment, for managed online endpoints. none: the endpoint has one model.",
            advanced=True,
        )
        extra_parameters: Literal["", "pass-through", "drop", "error"] = setting(
            "Unknown parameters",
            default="",
            help="What Azure's inference route does with parameters that the model may know and it does not.",
            advanced=True,
        )
        stream_options: bool = setting(
            "Ask for usage in streams",
            default=True,
            help="Switch off for endpoints that refuse stream_options; tokens of streams may be estimated then.",
            advanced=True,
        )
        extra_headers: Headers = setting(
            "Extra headers", default={}, help="Shown to connection admins: no secrets here.", target=True, advanced=True
        )
        secret_headers: SecretHeaders = setting(
            "Secret headers", default={}, help="Such as a gateway's subscription key.", advanced=True
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            if self.sign_in == "entra" and (problem := self.client_problem()):
                raise ValueError(problem)
            if self.sign_in != "entra" and not self.api_key.get_secret_value():
                raise ValueError("This sign-in needs a key.")
            if twice := named_twice(self.extra_headers, self.secret_headers, ["api-key", "extra-parameters"]):
                raise ValueError(f"The header {twice} is set twice.")
            return self

    settings: Settings

    # --- where and who ---

    @property
    def base_url(self) -> str:
        return self.settings.target_uri

    @property
    def _by_key(self) -> bool:
        return (urlsplit(self.settings.target_uri).hostname or "").endswith(BY_KEY)

    def signing_in(self) -> Auth:
        settings, key = self.settings, self.settings.api_key.get_secret_value()
        headers = {name: value.get_secret_value() for name, value in settings.secret_headers.items()}
        if settings.sign_in == "entra":
            return client_token(settings, SCOPE if self._by_key else ML_SCOPE, headers)
        if settings.sign_in == "api-key" or (settings.sign_in == "auto" and self._by_key):
            return StaticHeaders({**headers, "api-key": key})
        return StaticHeaders({**headers, "Authorization": f"Bearer {key}"})

    def extra_headers(self) -> Mapping[str, str]:
        wish = self.settings.extra_parameters
        return {**self.settings.extra_headers, **({"extra-parameters": wish} if wish else {})}

    def url_of(self, call: Call) -> str:
        options = self.knowledge_of(call.target).options
        own = options.target_uri if isinstance(options, AzureLLMOptions) else ""
        return operation_url(self._on_our_host(own) if own else self.settings.target_uri, call.mode)

    def _on_our_host(self, uri: str) -> str:
        ours, theirs = urlsplit(self.settings.target_uri), urlsplit(uri)
        if theirs.netloc and (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
            raise RequestRefused(
                "This model's Target URI leads to another host than its connection's, whose key must not go there."
                " An admin can give that host a connection of its own."
            )
        return urlunsplit(theirs._replace(scheme=ours.scheme, netloc=ours.netloc))

    def headers_of(self, call: Call) -> Mapping[str, str]:
        if self.settings.model_name != "header":
            return self._headers
        return {**self._headers, "azureml-model-deployment": call.target.upstream_id}

    # --- what goes there ---

    @property
    def takes_stream_options(self) -> bool:
        return self.settings.stream_options

    def quirks(self, target: Target) -> Quirks:
        return quirks_if_known(target.known_as) or Quirks()

    def request(self, call: Call) -> Outgoing:
        named: dict[str, Any] = {"model": call.target.upstream_id} if self.settings.model_name == "body" else {}
        return Outgoing("POST", self.url_of(call), self.headers_of(call), wire.encode({**named, **self.body(call)}))

    # --- what comes back ---

    def problem(self, answer: Answer) -> ProviderError:
        error = super().problem(structs.replace(answer, status=502) if answer.status == CONTAINER_FAILED else answer)
        error.status = answer.status
        return error

    def check(self) -> Outgoing:
        return Outgoing("GET", check_url(self.settings.target_uri), self._headers)

    def check_problem(self, answer: Answer) -> ProviderError | None:
        return None if answer.status in problems.NO_SUCH_ROUTE else super().check_problem(answer)

    def models(self, answer: Answer) -> list[ModelInfo]:
        """Foundry tells of the one model behind its route; what Azure OpenAI lists is not deployed."""
        if "/openai/" in check_url(self.settings.target_uri):
            return []
        content = wire.decode(wire.ANY, answer.body, self._secrets)
        told = content if isinstance(content, dict) else {}
        name = told.get("model_name")
        if not isinstance(name, str) or not name:
            return super().models(answer)
        embeds = "embed" in str(told.get("model_type")).lower()
        return [ModelInfo(name, Mode.EMBEDDING if embeds else Mode.CHAT)]


def operation_url(uri: str, mode: Mode) -> str:
    """What is called for a Target URI: itself, if it names an operation already."""
    parts = urlsplit(uri)
    base, ending = _split(parts.path)
    if ending in {SCORE, PATHS[mode]}:
        return uri
    query = parts.query
    if not ending:
        base, query = _rooted(parts, base)
    return urlunsplit(parts._replace(path=f"{base}{PATHS[mode]}", query=query))


def check_url(uri: str) -> str:
    """What tells whether key and address are fine, and at best the model."""
    parts = urlsplit(uri)
    base, ending = _split(parts.path)
    before, deployments, _ = base.partition("/deployments/")
    if deployments:
        return urlunsplit(parts._replace(path=f"{before}/models"))
    base, query = ("/v1", "") if ending == SCORE else (base, parts.query) if ending else _rooted(parts, base)
    return urlunsplit(parts._replace(path=f"{base}/{'info' if base.endswith('/models') else 'models'}", query=query))


def _split(path: str) -> tuple[str, str]:
    """The path without the operation that it may end in, and that."""
    path = path.rstrip("/")
    ending = next((ending for ending in (*PATHS.values(), SCORE) if path.endswith(ending)), "")
    return path.removesuffix(ending), ending


def _rooted(parts: SplitResult, base: str) -> tuple[str, str]:
    """Path and query in front of the operations of an address that names none."""
    if (parts.hostname or "").endswith(FOUNDRY) and base in {"", "/models"}:
        versioned = "api-version" in parse_qs(parts.query)
        return "/models", parts.query if versioned else "&".join(filter(None, (parts.query, INFERENCE_VERSION)))
    return base or "/v1", parts.query
