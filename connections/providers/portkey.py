"""Portkey: its cloud, or its open gateway on a machine of one's own. OpenAI's bodies, `x-portkey-` headers."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, model_validator

from connections.providers import problems, wire
from connections.providers.calls import Answer, Call, Mode, Reply
from connections.providers.errors import ProviderError
from connections.providers.fields import MAX_SECRET, Headers, OpenAIUrl, Secret, Url
from connections.providers.openai_dialect import OpenAIDialect
from connections.providers.parameters import COMMON, KNOWN, ParameterTable
from connections.providers.settings import ProviderSettings, setting

CLOUD = "api.portkey.ai"
BASE_URL = f"https://{CLOUD}/v1"
BROKEN_LIST = b"immutable"
"""The open gateway stumbles over its own headers when it lists models; chats work all the same."""


def _config(value: SecretStr) -> SecretStr:
    """A config's id, or its JSON on one line: it may hold the keys of its targets."""
    text = value.get_secret_value().strip()
    if not text.startswith("{"):
        if text and not re.fullmatch(r"pc-[A-Za-z0-9_-]{1,100}", text):
            raise ValueError("A config is an id that begins with pc-, or a JSON object.")
        return SecretStr(text)
    try:
        plain = json.dumps(json.loads(text), separators=(",", ":"))
    except (ValueError, RecursionError):
        raise ValueError("The config is no valid JSON.") from None
    if len(plain) > MAX_SECRET:
        raise ValueError(f"A config has at most {MAX_SECRET} characters; save it at Portkey and give its id.")
    return SecretStr(plain)


def _provider(text: str) -> str:
    if text and not re.fullmatch(r"@?[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError("A provider is a name such as openai, or the slug of an integration such as @acme-openai.")
    return text


Config = Annotated[SecretStr, AfterValidator(_config)]
ProviderName = Annotated[str, AfterValidator(_provider)]


class Portkey(OpenAIDialect):
    kind = "portkey"
    label = "Portkey"
    summary = "Another gateway: Portkey's cloud, or its gateway on your own machine."
    mark = "portkey"
    group = "gateway"
    docs_url = "https://portkey.ai/docs/api-reference/inference-api/headers"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE})
    parameters = ParameterTable.of(*COMMON, *KNOWN[Mode.IMAGE]).without("input_type")

    class Settings(ProviderSettings):
        base_url: OpenAIUrl = setting(
            "Gateway URL",
            default=BASE_URL,
            help="For a gateway of your own: where it listens. Without any path, /v1 is added.",
            target=True,
            placeholder="http://localhost:8787",
            min_length=1,
        )
        api_key: Secret = setting("Portkey API key", default=SecretStr(""), help="Needed for the cloud.")
        provider: ProviderName = setting(
            "Provider",
            default="",
            help="Whom the gateway asks: a name such as openai, or a slug such as @acme-openai.",
            target=True,
        )
        provider_key: Secret = setting(
            "Provider's key", default=SecretStr(""), help="Sent on to the provider; only where none is stored."
        )
        virtual_key: Secret = setting(
            "Virtual key", default=SecretStr(""), help="The older name of a stored provider.", advanced=True
        )
        config: Config = setting(
            "Config",
            default=SecretStr(""),
            help="The id of a saved config (pc-…), or a config as JSON.",
            advanced=True,
            multiline=True,
        )
        custom_host: Url = setting(
            "Custom host", default="", help="The provider's base URL, for one of your own.", target=True, advanced=True
        )
        extra_headers: Headers = setting(
            "Extra headers",
            default={},
            help="Such as x-portkey-cache-namespace. They are shown to connection admins: no secrets here.",
            target=True,
            advanced=True,
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            in_cloud = urlsplit(self.base_url).hostname == CLOUD
            if in_cloud and not self.api_key.get_secret_value():
                raise ValueError("Portkey's cloud needs an API key.")
            ways = (self.provider, self.virtual_key.get_secret_value(), self.config.get_secret_value())
            if not in_cloud and not any(ways):
                raise ValueError("A gateway of your own needs a provider or a config: whom shall it ask?")
            return self

    settings: Settings

    @property
    def base_url(self) -> str:
        return self.settings.base_url

    def sign_in(self) -> Mapping[str, str]:
        key = self.settings.provider_key.get_secret_value()
        named = {
            "x-portkey-api-key": self.settings.api_key.get_secret_value(),
            "x-portkey-virtual-key": self.settings.virtual_key.get_secret_value(),
            "x-portkey-config": self.settings.config.get_secret_value(),
            "Authorization": f"Bearer {key}" if key else "",
        }
        return {name: value for name, value in named.items() if value}

    def extra_headers(self) -> Mapping[str, str]:
        named = {"x-portkey-provider": self.settings.provider, "x-portkey-custom-host": self.settings.custom_host}
        return {**{name: value for name, value in named.items() if value}, **self.settings.extra_headers}

    def headers_of(self, call: Call) -> Mapping[str, str]:
        """Its traces bear our id."""
        return {**self._headers, "x-portkey-trace-id": call.request_id} if call.request_id else self._headers

    def reply(self, call: Call, answer: Answer) -> Reply:
        """The gateway's own failures have a shape of their own."""
        if b'"failure"' in answer.body[:200]:
            content: Any = wire.decode(wire.ANY, answer.body, self._secrets)
            if isinstance(content, dict) and content.get("status") == "failure":
                raise problems.inside(content, self._secrets)
        return super().reply(call, answer)

    def check_problem(self, answer: Answer) -> ProviderError | None:
        in_cloud = urlsplit(self.base_url).hostname == CLOUD
        no_list = answer.status in problems.NO_SUCH_ROUTE or (answer.status == 500 and BROKEN_LIST in answer.body)
        return None if no_list and not in_cloud else super().check_problem(answer)
