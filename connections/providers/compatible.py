"""Any other server that speaks OpenAI's dialect, with a switch for each usual difference."""

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, SecretStr, model_validator

from connections.providers import problems, thinking, wire
from connections.providers.calls import Adjustment, Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import Abilities, EventReader
from connections.providers.errors import ProviderError
from connections.providers.fields import HeaderName, Headers, HeaderText, OpenAIUrl, Secret, SecretHeaders, named_twice
from connections.providers.openai_dialect import OpenAIDialect, Quirks
from connections.providers.parameters import COMMON, KNOWN, ParameterTable
from connections.providers.settings import ProviderSettings, setting

CHECK = "check"
"""Among the paths: what the free check asks for, where the list of models does not work."""
PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")


def _paths(paths: dict[str, str]) -> dict[str, str]:
    for mode, path in paths.items():
        if mode not in {*Mode, CHECK}:
            raise ValueError(f"{mode[:40]!r} is no operation. There are: {', '.join([*Mode, CHECK])}.")
        if not PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise ValueError(f"The path of {mode} begins with / and has plain characters only, no .. and no ?.")
    return paths


Paths = Annotated[dict[str, str], AfterValidator(_paths)]


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
        secret_headers: SecretHeaders = setting(
            "Secret headers", default={}, help="Such as a gateway's subscription key.", advanced=True
        )
        paths: Paths = setting(
            "Paths of its own",
            default={},
            help="Where an operation lies elsewhere below the host, as in embedding: /api/embed, or check: /health "
            "for servers that cannot list their models.",
            target=True,
            advanced=True,
        )
        developer_role: bool = setting(
            "Knows the role developer",
            default=False,
            help="Otherwise instructions of developers are sent as those of the system.",
            advanced=True,
        )
        split_thinking: bool = setting(
            "Take reasoning apart",
            default=False,
            help="What stands between <think> tags becomes reasoning_content. Otherwise answers stay as they are.",
            advanced=True,
        )
        fetches_pictures: bool = setting(
            "Fetches pictures from addresses", default=True, help="Otherwise we fetch and send them.", advanced=True
        )
        max_inputs: int = setting(
            "Texts in one request",
            default=2048,
            help="The most texts that this server embeds at once; more are split.",
            advanced=True,
            ge=1,
            le=2048,
        )
        vectors_as_numbers: bool = setting(
            "Vectors as numbers only",
            default=False,
            help="For servers that refuse or ignore encoding_format: base64 is made here for those who ask for it.",
            advanced=True,
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            if self.sign_in != "none" and not self.api_key.get_secret_value():
                raise ValueError("This sign-in needs an API key. Without a key choose sign-in none.")
            if self.sign_in == "header" and not self.header_name:
                raise ValueError("Sign-in by header needs the header's name.")
            if twice := named_twice(self.extra_headers, self.secret_headers, [self.header_name]):
                raise ValueError(f"The header {twice} is set twice.")
            if self.sign_in == "basic" and (not self.username or ":" in self.username):
                raise ValueError("Basic sign-in needs a user name without a colon.")
            return self

    settings: Settings

    @property
    def base_url(self) -> str:
        return self.settings.base_url

    def sign_in(self) -> Mapping[str, str]:
        headers = {name: value.get_secret_value() for name, value in self.settings.secret_headers.items()}
        return {**headers, **self._key_header()}

    def _key_header(self) -> Mapping[str, str]:
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

    @property
    def packs_vectors(self) -> bool:
        return self.settings.vectors_as_numbers

    def abilities(self, target: Target) -> Abilities:
        able, settings = super().abilities(target), self.settings
        return replace(able, inputs=min(able.inputs, settings.max_inputs), image_urls=settings.fetches_pictures)

    def url_of(self, call: Call) -> str:
        own = self.settings.paths.get(call.mode)
        return super().url_of(call) if own is None else self._at(own)

    def _at(self, path: str) -> str:
        return urlunsplit(urlsplit(self.settings.base_url)._replace(path=path))

    def body(self, call: Call) -> dict[str, Any]:
        body = super().body(call)
        if not self.settings.developer_role and "messages" in body and b'"developer"' in wire.encode(body["messages"]):
            body["messages"] = _without_developers(call, wire.plain(body["messages"]))
        return body

    def reply(self, call: Call, answer: Answer) -> Reply:
        reply = super().reply(call, answer)
        return thinking.split(reply) if self._splits(call) else reply

    def events(self, call: Call) -> EventReader:
        if self._splits(call):
            return thinking.SplitChunks(self._secrets, call.wants_usage)
        return super().events(call)

    def _splits(self, call: Call) -> bool:
        return self.settings.split_thinking and call.mode is Mode.CHAT

    def quirks(self, target: Target) -> Quirks:
        return Quirks(frozenset(self.settings.drop_parameters), self.settings.max_tokens_name)

    def check(self) -> Outgoing:
        own = self.settings.paths.get(CHECK)
        return super().check() if own is None else Outgoing("GET", self._at(own), self._headers)

    def models(self, answer: Answer) -> list[ModelInfo]:
        """What a path of its own answers is no list."""
        return [] if CHECK in self.settings.paths else super().models(answer)

    def check_problem(self, answer: Answer) -> ProviderError | None:
        return None if answer.status in problems.NO_SUCH_ROUTE else super().check_problem(answer)


def _without_developers(call: Call, messages: Any) -> Any:
    if not any(message.get("role") == "developer" for message in messages):
        return messages
    call.adjusted.append(Adjustment("messages.role", "developer sent as system"))
    return [{**message, "role": "system"} if message["role"] == "developer" else message for message in messages]
