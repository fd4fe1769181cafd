"""Databricks: the foundation models of a workspace and the endpoints that serve one's own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import quote

from msgspec import structs
from pydantic import AfterValidator, SecretStr, model_validator

from connections.providers import problems, wire
from connections.providers.calls import Adjustment, Answer, Call, Frame, Mode, ModelInfo, Outgoing, Reply, Steps, Target
from connections.providers.contract import Abilities, Auth, EventReader, StaticHeaders
from connections.providers.databricks_models import CATALOGUE
from connections.providers.entra import EntraSettings, client_token
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.fields import HeaderText, Secret, Url, joined
from connections.providers.oauth import AccessToken, client_credentials
from connections.providers.openai_dialect import DialectOptions, OpenAIDialect
from connections.providers.openai_replies import ChunkReader
from connections.providers.parameters import ParameterTable
from connections.providers.settings import setting

SCOPE = "all-apis"
ENTRA_SCOPE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/.default"
"""Databricks as Entra knows it, in every directory."""
ENDPOINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")
MAX_INPUTS = 150
TASKS: Mapping[str, Mode] = {
    "llm/v1/chat": Mode.CHAT,
    "llm/v1/completions": Mode.COMPLETION,
    "llm/v1/embeddings": Mode.EMBEDDING,
}
NAMES: Mapping[str, str] = {
    "BAD_REQUEST": "invalid_request_error",
    "INVALID_PARAMETER_VALUE": "invalid_request_error",
    "PERMISSION_DENIED": "permission_error",
    "RESOURCE_DOES_NOT_EXIST": "not_found_error",
    "REQUEST_LIMIT_EXCEEDED": "rate_limit_exceeded",
    "TEMPORARILY_UNAVAILABLE": "unavailable_error",
}
"""What its error codes are called elsewhere, for errors that come without a status."""


def _workspace(url: str) -> str:
    """Without the paths that its pages show."""
    if "?" in url:
        raise ValueError("Leave out the ? part of the workspace's address.")
    return re.sub(r"/(serving-endpoints(/.*)?|api/2\.0(/.*)?|ml(/.*)?)$", "", url)


class DatabricksOptions(DialectOptions):
    structured_streams: bool = setting(
        "Stream answers that follow a format",
        default=False,
        help="Not every model can. Otherwise such answers come whole, in one piece of the stream.",
    )


class Databricks(OpenAIDialect):
    kind = "databricks"
    label = "Databricks"
    summary = "Foundation models and serving endpoints of your workspace."
    mark = "databricks"
    order = 30
    docs_url = "https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/"
    catalogue = CATALOGUE
    price_provider = "databricks"
    ModelOptions: ClassVar[type[DatabricksOptions]] = DatabricksOptions
    parameters = ParameterTable.of(
        *("temperature", "top_p", "top_k", "max_tokens", "stop", "n", "seed", "presence_penalty", "frequency_penalty"),
        *("tools", "tool_choice", "response_format", "logprobs", "top_logprobs", "reasoning_effort"),
        *("echo", "suffix", "dimensions", "encoding_format"),
        *("thinking", "instruction", "use_raw_prompt", "error_behavior"),
    )

    class Settings(EntraSettings):
        workspace_url: Annotated[Url, AfterValidator(_workspace)] = setting(
            "Workspace",
            help="The address of the workspace, as your browser shows it.",
            target=True,
            placeholder="https://adb-1234567890123456.7.azuredatabricks.net",
            min_length=1,
        )
        sign_in: Literal["token", "oauth", "entra"] = setting(
            "Sign-in",
            default="token",
            help="token: a personal access token. oauth: a service principal of Databricks. entra: one of Azure.",
            target=True,
        )
        access_token: Secret = setting(
            "Access token", default=SecretStr(""), help="For sign-in by token. Begins with dapi."
        )
        client_id: HeaderText = setting(
            "Client", default="", help="The service principal's application id, for oauth and entra.", advanced=True
        )
        client_secret: Secret = setting(
            "Client secret", default=SecretStr(""), help="The service principal's secret.", advanced=True
        )
        route: Literal["openai", "invocations"] = setting(
            "Route",
            default="openai",
            help="invocations: each endpoint at its own address, for custom and provisioned ones.",
            advanced=True,
        )
        stream_options: bool = setting(
            "Ask for usage in streams",
            default=False,
            help="Usage comes unasked from Databricks' own models; some external ones must be asked.",
            advanced=True,
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            client = bool(self.client_id and self.client_secret.get_secret_value())
            problem = {
                "token": "" if self.access_token.get_secret_value() else "This sign-in needs an access token.",
                "oauth": "" if client else "This sign-in needs client and client secret.",
                "entra": self.client_problem() if self.sign_in == "entra" else "",
            }[self.sign_in]
            if problem:
                raise ValueError(problem)
            return self

    settings: Settings

    # --- where and who ---

    @property
    def base_url(self) -> str:
        return joined(self.settings.workspace_url, "serving-endpoints")

    def signing_in(self) -> Auth:
        settings = self.settings
        match settings.sign_in:
            case "entra":
                return client_token(settings, ENTRA_SCOPE, {})
            case "oauth":
                url = joined(settings.workspace_url, "oidc/v1/token")
                secret, scope = settings.client_secret.get_secret_value(), settings.scope or SCOPE
                return AccessToken(client_credentials(url, settings.client_id, secret, scope, basic=True))
            case _:
                return StaticHeaders({"Authorization": f"Bearer {settings.access_token.get_secret_value()}"})

    def url_of(self, call: Call) -> str:
        if self.settings.route == "openai":
            return super().url_of(call)
        name = call.target.upstream_id
        if not ENDPOINT.fullmatch(name):
            raise RequestRefused(f"{name[:80]!r} is no name of an endpoint: letters, digits, dashes and dots only.")
        return joined(self.base_url, f"{quote(name)}/invocations")

    # --- what goes there ---

    def request(self, call: Call) -> Outgoing:
        if self.settings.route == "openai":
            return super().request(call)
        return Outgoing("POST", self.url_of(call), self.headers_of(call), wire.encode(self.body(call)))

    @property
    def takes_stream_options(self) -> bool:
        return self.settings.stream_options

    @property
    def packs_vectors(self) -> bool:
        return True

    def abilities(self, target: Target) -> Abilities:
        able = super().abilities(target)
        return replace(able, inputs=min(able.inputs, MAX_INPUTS))

    def opening(self, call: Call) -> Steps[Outgoing | Reply]:
        """Most models cannot stream what follows a format: that is asked whole."""
        if not self._follows_format(call):
            return self.request(call)
        call.adjusted.append(Adjustment("stream", "answered whole"))
        reply = yield from self.steps(structs.replace(call, stream=False))
        return reply

    def _follows_format(self, call: Call) -> bool:
        wanted = wire.plain(call.body.get("response_format"))
        options = self.knowledge_of(call.target).options
        if isinstance(options, DatabricksOptions) and options.structured_streams:
            return False
        return isinstance(wanted, dict) and wanted.get("type") in {"json_object", "json_schema"}

    # --- what comes back ---

    def reply(self, call: Call, answer: Answer) -> Reply:
        if b'"error_code"' in answer.body:
            _raise_error(answer.body, self._secrets)
        return super().reply(call, answer)

    def events(self, call: Call) -> EventReader:
        return Chunks(self._secrets, call.wants_usage)

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self.settings.workspace_url, "api/2.0/serving-endpoints"), self._headers)

    def check_problem(self, answer: Answer) -> ProviderError | None:
        if answer.status == 404:
            return RequestRefused("Nothing answers under this address. Is it that of a workspace?", status=404)
        return super().check_problem(answer)

    def models(self, answer: Answer) -> list[ModelInfo]:
        """The endpoints that serve language models."""
        content = wire.decode(wire.ANY, answer.body, self._secrets)
        told = content.get("endpoints", []) if isinstance(content, dict) else None
        if not isinstance(told, list):
            raise problems.unreadable(answer.body, self._secrets)
        found = [self._endpoint(item) for item in told if isinstance(item, dict)]
        return [info for info in found if info is not None]

    def _endpoint(self, item: Mapping[str, Any]) -> ModelInfo | None:
        name, mode = item.get("name"), TASKS.get(str(item.get("task")))
        if not isinstance(name, str) or not name or mode is None:
            return None
        return self.known(name, mode) or ModelInfo(name, mode)


class Chunks(ChunkReader):
    def feed(self, frame: Frame) -> Sequence[bytes]:
        if b'"error_code"' in frame.data and not self._done:
            _raise_error(frame.data, self._secrets)
        return super().feed(frame)


def _raise_error(body: bytes, secrets: Sequence[str]) -> None:
    """Raise what an error amounts to that came without a status; words that a model says are none."""
    content = wire.decode(wire.ANY, body, secrets)
    if isinstance(content, dict) and isinstance(code := content.get("error_code"), str):
        said = {"message": str(content.get("message") or code), "code": NAMES.get(code, code)}
        raise problems.inside({"error": said}, secrets)
