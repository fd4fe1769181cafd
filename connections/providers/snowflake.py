"""Snowflake Cortex: OpenAI's shape on its newer route, its own on the older one, and embeddings."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, SecretStr, model_validator

from connections.providers import problems, wire
from connections.providers.calls import Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import Abilities, Auth, EventReader, StaticHeaders
from connections.providers.fields import HeaderText, Secret, SecretText, Url, joined
from connections.providers.oauth import AccessToken, refresh_token
from connections.providers.openai_dialect import DialectOptions, OpenAIDialect, Quirks
from connections.providers.parameters import ParameterTable
from connections.providers.settings import ProviderSettings, setting
from connections.providers.snowflake_complete import TABLE, CompleteReader, body_of, completion
from connections.providers.snowflake_jwt import KeyPair, private_key
from connections.providers.snowflake_replies import FinishingReader, vectors

ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")
TOKEN_TYPE = "X-Snowflake-Authorization-Token-Type"  # noqa: S105 - a header's name
OLDER = ("gemma-7b", "llama2-70b-chat", "mistral-7b", "mixtral-8x7b", "mistral-large", "snowflake-arctic")
"""Models that only the older route serves."""


def _account(name: str) -> str:
    name = name.strip()
    if "." in name and name.lower().endswith(".snowflakecomputing.com"):
        name = name[: -len(".snowflakecomputing.com")]
    if not ACCOUNT.fullmatch(name) or ".." in name:
        raise ValueError("An account identifier looks like myorg-account123, or xy12345.eu-central-1.")
    return name


def _pem(key: SecretStr) -> SecretStr:
    """Whether it can be read is asked once its passphrase is known."""
    text = key.get_secret_value()
    if text and not (text.startswith("-----BEGIN ") and text.isascii()):
        raise ValueError("A private key in PEM begins with -----BEGIN. Paste all of its lines.")
    return key


def _chat(name: str, label: str, context: int, *, older: bool = False) -> ModelInfo:
    known = ModelInfo(name, label=label, context=context)
    return replace(known, lifecycle="deprecated", replacement="llama3.3-70b") if older else known


class Snowflake(OpenAIDialect):
    kind = "snowflake"
    label = "Snowflake Cortex"
    summary = "Models that run beside your data in Snowflake."
    mark = "snowflake"
    order = 50
    docs_url = "https://docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api"
    modes = frozenset({Mode.CHAT, Mode.EMBEDDING})
    price_provider = "snowflake"
    catalogue = (
        _chat("claude-sonnet-4-6", "Claude Sonnet 4.6", 200_000),
        _chat("claude-haiku-4-5", "Claude Haiku 4.5", 200_000),
        _chat("openai-gpt-5", "GPT-5", 272_000),
        _chat("openai-gpt-5-mini", "GPT-5 mini", 272_000),
        _chat("openai-gpt-4.1", "GPT-4.1", 128_000),
        _chat("llama4-maverick", "Llama 4 Maverick", 128_000),
        _chat("llama3.3-70b", "Llama 3.3 70B", 128_000),
        _chat("llama3.1-8b", "Llama 3.1 8B", 128_000),
        _chat("llama3.1-70b", "Llama 3.1 70B", 128_000),
        _chat("llama3.1-405b", "Llama 3.1 405B", 128_000),
        _chat("mistral-large2", "Mistral Large 2", 128_000),
        _chat("deepseek-r1", "DeepSeek R1", 32_768),
        _chat("snowflake-llama-3.3-70b", "Snowflake Llama 3.3 70B", 128_000),
        _chat("snowflake-arctic", "Snowflake Arctic", 4_096, older=True),
        _chat("gemma-7b", "Gemma 7B", 8_000, older=True),
        _chat("llama2-70b-chat", "Llama 2 70B", 4_096, older=True),
        _chat("mistral-7b", "Mistral 7B", 32_000, older=True),
        _chat("mixtral-8x7b", "Mixtral 8x7B", 32_000, older=True),
        _chat("mistral-large", "Mistral Large", 32_000, older=True),
        ModelInfo("snowflake-arctic-embed-l-v2.0", Mode.EMBEDDING, "Arctic Embed L 2.0", context=8_192),
        ModelInfo("snowflake-arctic-embed-m-v2.0", Mode.EMBEDDING, "Arctic Embed M 2.0", context=8_192),
        ModelInfo("snowflake-arctic-embed-m-v1.5", Mode.EMBEDDING, "Arctic Embed M 1.5", context=512),
        ModelInfo("snowflake-arctic-embed-m", Mode.EMBEDDING, "Arctic Embed M", context=512),
    )

    class Settings(ProviderSettings):
        account: Annotated[str, AfterValidator(_account)] = setting(
            "Account identifier", help="As in myorg-account123, the part before .snowflakecomputing.com.", target=True,
            placeholder="myorg-account123", min_length=1,
        )  # fmt: skip
        host_url: Url = setting(
            "Host",
            default="",
            help="Only for private links or a gateway: the address in front of /api/v2/cortex.",
            target=True,
            advanced=True,
            placeholder="https://myorg-account123.privatelink.snowflakecomputing.com",
        )
        sign_in: Literal["token", "key_pair", "oauth"] = setting(
            "Sign-in",
            default="token",
            help="token: a programmatic access token. key_pair: a user's private key. oauth: a refresh token.",
            target=True,
        )
        token: Secret = setting(
            "Access token",
            default=SecretStr(""),
            help="The programmatic access token, or for oauth the refresh token. The user's default role must hold "
            "SNOWFLAKE.CORTEX_USER.",
        )
        user: HeaderText = setting("User", default="", help="For sign-in by key pair: the user of the key.")
        private_key: Annotated[SecretText, AfterValidator(_pem)] = setting(
            "Private key",
            default=SecretStr(""),
            help="For sign-in by key pair: the RSA key in PEM, all of its lines.",
            multiline=True,
        )
        passphrase: Secret = setting(
            "Passphrase of the key", default=SecretStr(""), help="If the private key is encrypted.", advanced=True
        )
        client_id: HeaderText = setting("OAuth client id", default="", help="For sign-in by oauth.", advanced=True)
        client_secret: Secret = setting(
            "OAuth client secret", default=SecretStr(""), help="For sign-in by oauth.", advanced=True
        )
        oauth_url: Url = setting(
            "Token address",
            default="",
            help="For an identity service of your own; empty: Snowflake's.",
            target=True,
            advanced=True,
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            if self.sign_in == "key_pair":
                if not self.user:
                    raise ValueError("Sign-in by key pair needs the user whose key it is.")
                private_key(self.private_key.get_secret_value(), self.passphrase.get_secret_value())
            elif not self.token.get_secret_value():
                raise ValueError("This sign-in needs an access token.")
            if self.sign_in == "oauth" and not self.client_id:
                raise ValueError("Sign-in by oauth needs the client id.")
            return self

    class ModelOptions(DialectOptions):
        route: Literal["auto", "chat", "complete"] = setting(
            "Route",
            default="auto",
            help="chat: the newer one. complete: the older one, for the first Cortex models. auto: by the model.",
        )

    settings: Settings

    @property
    def _host(self) -> str:
        """Names with an underscore have a hyphen in their host."""
        name = self.settings.account.replace("_", "-").lower()
        return self.settings.host_url or f"https://{name}.snowflakecomputing.com"

    @property
    def base_url(self) -> str:
        return joined(self._host, "api/v2/cortex/v1")

    def signing_in(self) -> Auth:
        settings = self.settings
        token = settings.token.get_secret_value()
        match settings.sign_in:
            case "key_pair":
                key = private_key(settings.private_key.get_secret_value(), settings.passphrase.get_secret_value())
                return KeyPair(settings.account, settings.user, key, {TOKEN_TYPE: "KEYPAIR_JWT"})
            case "oauth":
                url = settings.oauth_url or joined(self._host, "oauth/token-request")
                secret = settings.client_secret.get_secret_value()
                asked = refresh_token(url, token, settings.client_id, secret, basic=bool(secret))
                return AccessToken(asked, headers={TOKEN_TYPE: "OAUTH"})
            case _:
                kind = {TOKEN_TYPE: "PROGRAMMATIC_ACCESS_TOKEN"}
                return StaticHeaders({"Authorization": f"Bearer {token}", **kind})

    def secrets(self) -> list[str]:
        """Also each line of the key."""
        lines = self.settings.private_key.get_secret_value().splitlines()
        return [*super().secrets(), *(line for line in lines if not line.startswith("-----"))]

    def request(self, call: Call) -> Outgoing:
        """Model and prompt are values in JSON: nothing is ever put into SQL."""
        if call.mode is Mode.EMBEDDING:
            return self._cortex("inference:embed", {"model": call.target.upstream_id, "text": self._texts(call)})
        if _is_older(call.target):
            return self._cortex("inference:complete", {"model": call.target.upstream_id, **body_of(call)})
        return super().request(call)

    def _cortex(self, path: str, body: Mapping[str, Any]) -> Outgoing:
        accept = {"Accept": "text/event-stream, application/json"}
        url = joined(self._host, f"api/v2/cortex/{path}")
        return Outgoing("POST", url, {**self._headers, **accept}, wire.encode(body))

    def _texts(self, call: Call) -> list[str]:
        given = wire.plain(self.parameters_for(call.target).apply(call)["input"])
        return [given] if isinstance(given, str) else given

    def reply(self, call: Call, answer: Answer) -> Reply:
        if call.mode is Mode.EMBEDDING:
            return vectors(answer.body, self._secrets)
        if _is_older(call.target):
            return completion(answer.body, call.target.upstream_id, self._secrets)
        return super().reply(call, answer)

    def events(self, call: Call) -> EventReader:
        if _is_older(call.target):
            return CompleteReader(self._secrets, call.wants_usage, call.target.upstream_id)
        return FinishingReader(self._secrets, call.wants_usage)

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self._host, "api/v2/cortex/models"))

    def models(self, answer: Answer) -> list[ModelInfo]:
        content = wire.decode(wire.ANY, answer.body, self._secrets)
        listed = content.get("models") if isinstance(content, dict) else None
        if not isinstance(listed, list):
            raise problems.unreadable(answer.body, self._secrets)
        names = [item.get("name") if isinstance(item, dict) else item for item in listed]
        return [_listed(name) for name in names if isinstance(name, str)]

    def quirks(self, target: Target) -> Quirks:
        return Quirks(max_tokens="max_completion_tokens")

    def parameters_for(self, target: Target) -> ParameterTable:
        if target.mode is Mode.EMBEDDING:
            return _NONE
        return TABLE if _is_older(target) else super().parameters_for(target)

    def abilities(self, target: Target) -> Abilities:
        return Abilities(choices=1, inputs=100, image_urls=not _is_older(target))


_NONE = ParameterTable({})


def _is_older(target: Target) -> bool:
    route = target.options.get("route", "auto")
    return route == "complete" or (route == "auto" and target.known_as in OLDER)


def _listed(name: str) -> ModelInfo:
    return ModelInfo(name, Mode.EMBEDDING if "embed" in name else Mode.CHAT)
