"""Any other server that speaks OpenAI's dialect, with a switch for each usual difference."""

import base64
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import SecretStr, model_validator

from connections.providers.calls import Answer, Mode, Target
from connections.providers.errors import ProviderError
from connections.providers.fields import HeaderName, Headers, HeaderText, OpenAIUrl, Secret
from connections.providers.openai_dialect import OpenAIDialect, Quirks
from connections.providers.parameters import COMMON, KNOWN, ParameterTable
from connections.providers.settings import ProviderSettings, setting

NO_LIST = frozenset({404, 405, 501})
"""Servers without a list of models answer so; the key was not refused."""


class OpenAICompatible(OpenAIDialect):
    kind = "openai_compatible"
    label = "OpenAI-compatible endpoint"
    summary = "vLLM, LM Studio, Ollama, a gateway: any server with OpenAI's routes."
    mark = "generic"
    order = 90
    group = "self_hosted"
    modes = frozenset(Mode)
    parameters = ParameterTable.of(*COMMON, *KNOWN[Mode.IMAGE], *KNOWN[Mode.RERANK])

    class Settings(ProviderSettings):
        base_url: OpenAIUrl = setting(
            "Base URL",
            help="The address in front of /chat/completions. Without any path, /v1 is added.",
            target=True,
            placeholder="https://llm.example.com/v1",
            min_length=1,
        )
        sign_in: Literal["bearer", "header", "basic", "none"] = setting(
            "Sign-in",
            default="bearer",
            help="bearer: Authorization header. header: a header of another name. basic: user name and password.",
            target=True,
        )
        api_key: Secret = setting("API key", default=SecretStr(""), help="The key, token or password.")
        header_name: HeaderName = setting(
            "Header name", default="", help="For sign-in by header.", target=True, advanced=True, placeholder="api-key"
        )
        username: HeaderText = setting("User name", default="", help="For basic sign-in.", advanced=True)
        extra_headers: Headers = setting(
            "Extra headers",
            default={},
            help="Sent with every request. They are shown to connection admins: no secrets here.",
            target=True,
            advanced=True,
        )
        max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = setting(
            "Name of the token limit", default="max_tokens", help="Newer servers know both.", advanced=True
        )
        stream_options: bool = setting(
            "Ask for usage in streams",
            default=True,
            help="Switch off for older servers that refuse stream_options; tokens of streams are estimated then.",
            advanced=True,
        )
        drop_parameters: list[str] = setting(
            "Parameters to leave out", default=[], help="Names that this server refuses, one per line.", advanced=True
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            if self.sign_in != "none" and not self.api_key.get_secret_value():
                raise ValueError("This sign-in needs an API key. Without a key choose sign-in none.")
            if self.sign_in == "header" and not self.header_name:
                raise ValueError("Sign-in by header needs the header's name.")
            if self.sign_in == "basic" and (not self.username or ":" in self.username):
                raise ValueError("Basic sign-in needs a user name without a colon.")
            return self

    settings: Settings

    @property
    def base_url(self) -> str:
        return self.settings.base_url

    def sign_in(self) -> Mapping[str, str]:
        key = self.settings.api_key.get_secret_value()
        match self.settings.sign_in:
            case "bearer":
                return {"Authorization": f"Bearer {key}"}
            case "header":
                return {self.settings.header_name: key}
            case "basic":
                pair = base64.b64encode(f"{self.settings.username}:{key}".encode()).decode()
                return {"Authorization": f"Basic {pair}"}
            case _:
                return {}

    def extra_headers(self) -> Mapping[str, str]:
        return self.settings.extra_headers

    @property
    def takes_stream_options(self) -> bool:
        return self.settings.stream_options

    def quirks(self, target: Target) -> Quirks:
        return Quirks(frozenset(self.settings.drop_parameters), self.settings.max_tokens_name)

    def check_problem(self, answer: Answer) -> ProviderError | None:
        return None if answer.status in NO_LIST else super().check_problem(answer)
