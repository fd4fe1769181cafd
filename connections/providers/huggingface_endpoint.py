"""Hugging Face Inference Endpoints: a server of one's own at Hugging Face, of one of several kinds.

An endpoint is named by its address, or by its name and namespace; the control API tells its address then. What it
speaks is left to the provider of that server.
"""

from collections.abc import Mapping
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from connections.providers import problems, wire
from connections.providers.calls import Answer, Call, Framing, Mode, ModelInfo, Outgoing, Reply, Steps, Target
from connections.providers.compatible import OpenAICompatible
from connections.providers.contract import NOTHING, Abilities, Auth, EventReader, Provider, StaticHeaders
from connections.providers.errors import BadReply, Overloaded, ProviderError, RequestRefused
from connections.providers.fields import Secret, Url
from connections.providers.parameters import COMMON, ParameterTable
from connections.providers.prompt_formats import PromptOptions
from connections.providers.settings import ProviderSettings, setting
from connections.providers.tei import TEI
from connections.providers.tgi import TGI

CONTROL = "https://api.endpoints.huggingface.cloud/v2/endpoint"
HOSTS = ".endpoints.huggingface.cloud"
UNKNOWN = "https://unknown.endpoints.huggingface.cloud"
NOT_ITS_OWN = "Hugging Face named an address that is none of its own."
"""Stands for the address as long as only the name is known; nothing is sent there."""
ASLEEP = "The endpoint is asleep or still starting. Try again in a minute."
STATES: Mapping[str, str] = {
    "paused": "The endpoint is paused. Resume it at Hugging Face.",
    "failed": "The endpoint failed to start. Its page at Hugging Face says why.",
}
WAKING = frozenset({"pending", "initializing", "updating", "scaledToZero"})
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$|^$"


class HuggingFaceEndpoint(Provider):
    kind = "huggingface_endpoint"
    label = "Hugging Face Inference Endpoints"
    summary = "A dedicated endpoint with vLLM, TGI, llama.cpp or TEI behind it."
    mark = "huggingface"
    docs_url = "https://endpoints.huggingface.co"
    price_provider = "local"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.RERANK})
    parameters = ParameterTable.of(*COMMON)

    class Settings(ProviderSettings):
        api_key: Secret = setting("Access token", help="Begins with hf_.", min_length=1)
        base_url: Url = setting(
            "Endpoint URL",
            default="",
            help="As the endpoint's page shows it; or leave it empty and give name and namespace.",
            target=True,
            placeholder="https://abc123.eu-west-1.aws.endpoints.huggingface.cloud",
        )
        name: str = setting("Endpoint name", default="", help="Instead of the URL.", target=True, pattern=NAME)
        namespace: str = setting(
            "Namespace", default="", help="The user or organization that owns the endpoint.", target=True, pattern=NAME
        )
        server: Literal["openai", "tgi", "tei"] = setting(
            "Server",
            default="openai",
            help="openai: vLLM, llama.cpp, SGLang and newer TGI. tgi: TGI's own routes. tei: embeddings, reranking.",
        )
        wait_seconds: int = setting(
            "Wait for a sleeping endpoint",
            default=0,
            help="Seconds for which a call waits while the endpoint starts; 0: it is told at once to come back.",
            advanced=True,
            ge=0,
            le=3600,
        )

        @model_validator(mode="after")
        def _named(self) -> Self:
            if not self.base_url and not (self.name and self.namespace):
                raise ValueError("Give the endpoint's URL, or its name and namespace.")
            return self

    settings: Settings
    ModelOptions = PromptOptions

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        self._auth = StaticHeaders({"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"})
        self._server = self._server_at(self.settings.base_url or UNKNOWN)
        self._known = bool(self.settings.base_url)
        self._secrets = self.secrets()

    def _server_at(self, url: str) -> Provider:
        """The provider of the server at this address; it knows the token only to hide it."""
        key, root = self.settings.api_key, url.removesuffix("/v1")
        match self.settings.server:
            case "tgi":
                return TGI(TGI.Settings(base_url=root, api_key=key))
            case "tei":
                return TEI(TEI.Settings(base_url=root, api_key=key))
            case _:
                return OpenAICompatible(OpenAICompatible.Settings(base_url=f"{root}/v1", api_key=key))

    @property
    def auth(self) -> Auth:
        return self._auth

    # --- the address ---

    def _lookup(self) -> Outgoing:
        return Outgoing("GET", f"{CONTROL}/{self.settings.namespace}/{self.settings.name}")

    def _found(self, answer: Answer) -> None:
        """Remember the address that the control API tells. Raises ProviderError if there is none yet."""
        if answer.status >= 300:
            raise problems.named(answer, self._secrets)
        state, url = _status(answer, self._secrets)
        if not url:
            raise _unreachable(state)
        parts = urlsplit(url)
        if parts.scheme != "https" or not (parts.hostname or "").endswith(HOSTS):
            raise BadReply(NOT_ITS_OWN, evidence=url)
        try:
            self._server, self._known = self._server_at(url.rstrip("/")), True
        except ValueError as error:
            raise BadReply(NOT_ITS_OWN, evidence=url) from error

    def _address(self) -> Steps[None]:
        if not self._known:
            self._found((yield self._lookup()))

    # --- every call ---

    def request(self, call: Call) -> Outgoing:
        if self.settings.server != "openai" and call.mode not in type(self._server).modes:
            raise RequestRefused(f"An endpoint with the server {self.settings.server} cannot do this.")
        outgoing = self._server.request(call)
        wait = {"X-Scale-Up-Timeout": str(self.settings.wait_seconds)} if self.settings.wait_seconds else {}
        return Outgoing(outgoing.method, outgoing.url, {**outgoing.headers, **wait}, outgoing.body)

    def steps(self, call: Call) -> Steps[Reply]:
        yield from self._address()
        return (yield from super().steps(call))

    def opening(self, call: Call) -> Steps[Outgoing | Reply]:
        yield from self._address()
        return self.request(call)

    def reply(self, call: Call, answer: Answer) -> Reply:
        return self._server.reply(call, answer)

    def events(self, call: Call) -> EventReader:
        return self._server.events(call)

    def framing_of(self, call: Call) -> Framing:
        return self._server.framing_of(call)

    def problem(self, answer: Answer) -> ProviderError:
        """While an endpoint sleeps or starts, whoever stands in front of it answers 502 or 503."""
        error = self._server.problem(answer)
        if answer.status == 404:
            self._known = bool(self.settings.base_url)  # made anew under the same name, it has another address
        if answer.status in {502, 503}:
            asleep = Overloaded(ASLEEP, evidence=error.evidence, status=answer.status)
            asleep.retry_after = error.retry_after
            return asleep
        return error

    # --- checks and models ---

    def check(self) -> Outgoing:
        return self._server.check() if self.settings.base_url else self._lookup()

    def check_problem(self, answer: Answer) -> ProviderError | None:
        if answer.status >= 300 or self.settings.base_url:
            return super().check_problem(answer)
        state, url = _status(answer, self._secrets)
        return None if url and state not in STATES else _unreachable(state)

    def models(self, answer: Answer) -> list[ModelInfo]:
        return self._server.models(answer) if self.settings.base_url else []

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        """Of an endpoint known by its name: ask it itself."""
        if self.settings.base_url:
            return self.models(answer)
        self._found(answer)
        told = yield self._server.check()
        return self._server.models(told) if told.status < 300 else []

    def parameters_for(self, target: Target) -> ParameterTable:
        return self._server.parameters_for(target)

    def abilities(self, target: Target) -> Abilities:
        return self._server.abilities(target)


def _status(answer: Answer, secrets: list[str]) -> tuple[str, str]:
    """State and address of an endpoint, as the control API tells them."""
    told = wire.decode(wire.ANY, answer.body, secrets)
    status = told.get("status") if isinstance(told, dict) else None
    if not isinstance(status, dict):
        raise problems.unreadable(answer.body, secrets)
    return str(status.get("state") or ""), str(status.get("url") or "")


def _unreachable(state: str) -> ProviderError:
    if state in WAKING:
        return Overloaded(ASLEEP, evidence=f"The endpoint's state is {state}.")
    return RequestRefused(
        STATES.get(state, "The endpoint has no address."), evidence=f"The endpoint's state is {state}."
    )
