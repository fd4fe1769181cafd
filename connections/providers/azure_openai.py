"""Azure OpenAI: OpenAI's models as deployments of one's own, often behind an API Management gateway."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import msgspec
from pydantic import AfterValidator, SecretStr, model_validator

from connections.providers import problems, wire
from connections.providers.calls import Adjustment, Answer, Call, Frame, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import Auth, EventReader, StaticHeaders
from connections.providers.entra import EntraSettings, MachineToken, client_token, identity_problem
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.fields import HeaderName, Headers, Secret, SecretHeaders, Url, joined, named_twice
from connections.providers.openai_dialect import PATHS, Quirks
from connections.providers.openai_family import OpenAIFamily
from connections.providers.openai_replies import ChunkReader
from connections.providers.settings import setting

DATED = "2024-10-21"
"""The last dated version that is generally available."""
USAGE_SINCE = "2024-09-01"
"""Older versions refuse `stream_options`."""
SCOPE = "https://cognitiveservices.azure.com/.default"
NEWER_SCOPE = "https://ai.azure.com/.default"
"""For the v1 style."""
DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
VERSION = re.compile(r"\d{4}-\d\d-\d\d(-preview)?|preview|latest|v1")
OLDER = ("gpt-3", "gpt-4")
"""Families whose limit is called `max_tokens` at every version."""


def _endpoint(url: str) -> str:
    """Without what Azure's pages append to it."""
    if "?" in url:
        raise ValueError("Leave out the ? part: API version and other query parameters have fields of their own.")
    return re.sub(r"/openai(/v1|/deployments/[^/]+(/images/generations)?)?$", "", url)


def _version(text: str) -> str:
    if text and not VERSION.fullmatch(text):
        raise ValueError(f"An API version looks like {DATED} or 2025-04-01-preview.")
    return text


def _query(pairs: dict[str, str]) -> dict[str, str]:
    for name, value in pairs.items():
        if not re.fullmatch(r"[A-Za-z0-9._~-]{1,64}", name):
            raise ValueError(f"{name[:64]!r} is no valid name of a query parameter.")
        if name == "api-version":
            raise ValueError("The API version has its own field.")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"The value of {name} must be one line of plain characters.")
    return pairs


class AzureOpenAI(OpenAIFamily):
    kind = "azure_openai"
    label = "Azure OpenAI"
    summary = "OpenAI's models as your own deployments at Azure. Declare each deployment with the model behind it."
    mark = "azure"
    order = 20
    docs_url = "https://learn.microsoft.com/azure/ai-foundry/openai/reference"
    price_provider = "azure"

    class Settings(EntraSettings):
        endpoint: Annotated[Url, AfterValidator(_endpoint)] = setting(
            "Endpoint",
            help="The resource's address, or that of a gateway in front of it, with its path.",
            target=True,
            placeholder="https://my-resource.openai.azure.com",
            min_length=1,
        )
        sign_in: Literal["key", "entra", "managed_identity", "headers"] = setting(
            "Sign-in",
            default="key",
            help="entra: an application of your directory. headers: only the secret headers below.",
            target=True,
        )
        api_key: Secret = setting("API key", default=SecretStr(""), help="For sign-in by key. Either of the two works.")
        style: Literal["deployments", "v1"] = setting(
            "API style",
            default="deployments",
            help="deployments: /openai/deployments/…, with an API version. v1: /openai/v1/…, the newer one.",
        )
        api_version: Annotated[str, AfterValidator(_version)] = setting(
            "API version", default="", help=f"Empty: {DATED} for deployments, none for v1.", placeholder=DATED
        )
        header_name: HeaderName = setting(
            "Header of the key", default="api-key", help="Gateways may read another.", target=True, advanced=True
        )
        extra_headers: Headers = setting(
            "Extra headers", default={}, help="Shown to connection admins: no secrets here.", target=True, advanced=True
        )
        secret_headers: SecretHeaders = setting(
            "Secret headers",
            default={},
            help="Such as Ocp-Apim-Subscription-Key, a gateway's subscription key.",
            advanced=True,
        )
        query: Annotated[dict[str, str], AfterValidator(_query)] = setting(
            "Extra query parameters", default={}, help="Added to every address: no secrets here.", advanced=True
        )
        correlation_header: HeaderName = setting(
            "Header of the request id",
            default="",
            help="Carries our id of each request, so that logs can be joined, as in x-correlation-id or traceparent.",
            advanced=True,
        )
        openai_path: bool = setting(
            "The path continues with /openai",
            default=True,
            help="Switch off for gateways that leave it out.",
            target=True,
            advanced=True,
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            problem = {
                "key": "" if self.api_key.get_secret_value() else "This sign-in needs an API key.",
                "headers": "" if self.secret_headers else "This sign-in needs a secret header.",
                "entra": self.client_problem() if self.sign_in == "entra" else "",
                "managed_identity": identity_problem() if self.sign_in == "managed_identity" else "",
            }[self.sign_in]
            named = (self.header_name if self.sign_in == "key" else "", self.correlation_header)
            if twice := named_twice(self.extra_headers, self.secret_headers, named):
                problem = f"The header {twice} is set twice."
            if problem:
                raise ValueError(problem)
            return self

    settings: Settings

    # --- where and who ---

    @property
    def base_url(self) -> str:
        parts = urlsplit(self.settings.endpoint)
        path = [parts.path.rstrip("/"), *["openai"] * self.settings.openai_path, *["v1"] * self._newer]
        return urlunsplit(parts._replace(path="/".join(path), query=self._query))

    @property
    def _newer(self) -> bool:
        return self.settings.style == "v1"

    @property
    def _query(self) -> str:
        version = self.settings.api_version or ("" if self._newer else DATED)
        named = {**self.settings.query, "api-version": version}
        return urlencode({name: value for name, value in named.items() if value})

    def url_of(self, call: Call) -> str:
        if self._newer or self.in_responses(call.target):
            return super().url_of(call)
        name = call.target.upstream_id
        if not DEPLOYMENT.fullmatch(name):
            raise RequestRefused(f"{name[:80]!r} is no name of a deployment: letters, digits, dots and dashes only.")
        return joined(self.base_url, f"deployments/{quote(name)}/{PATHS[call.mode]}")

    def signing_in(self) -> Auth:
        settings = self.settings
        headers = {name: value.get_secret_value() for name, value in settings.secret_headers.items()}
        scope = NEWER_SCOPE if self._newer else SCOPE
        match settings.sign_in:
            case "entra":
                return client_token(settings, scope, headers)
            case "managed_identity":
                return MachineToken(settings.scope or scope, settings.client_id, headers)
            case "key":
                return StaticHeaders({**headers, settings.header_name: settings.api_key.get_secret_value()})
            case _:
                return StaticHeaders(headers)

    def extra_headers(self) -> Mapping[str, str]:
        return self.settings.extra_headers

    def headers_of(self, call: Call) -> Mapping[str, str]:
        name = self.settings.correlation_header
        return {**self._headers, name: _correlation(name, call.request_id)} if name else self._headers

    # --- what its models take ---

    @property
    def takes_stream_options(self) -> bool:
        version = self.settings.api_version
        return self._newer or not version[:1].isdigit() or version[:10] >= USAGE_SINCE

    def quirks(self, target: Target) -> Quirks:
        quirks = super().quirks(target)
        return replace(quirks, max_tokens="max_tokens") if target.known_as.startswith(OLDER) else quirks

    # --- what it answers ---

    def reply(self, call: Call, answer: Answer) -> Reply:
        reply = super().reply(call, answer)
        note_other_model(call, reply.model)
        return reply

    def events(self, call: Call) -> EventReader:
        if self.in_responses(call.target) or call.mode is not Mode.CHAT:
            return super().events(call)
        return FilteredChunks(self._secrets, call)

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self.base_url, "models"), self._headers)

    def check_problem(self, answer: Answer) -> ProviderError | None:
        if answer.status not in problems.NO_SUCH_ROUTE:
            return super().check_problem(answer)
        if (urlsplit(self.settings.endpoint).hostname or "").endswith(".azure.com"):
            return RequestRefused("Nothing answers under this endpoint. Check it and the API version.", status=404)
        return None

    def models(self, answer: Answer) -> list[ModelInfo]:
        """Azure lists the models that could be deployed, not the deployments."""
        return []


class FilteredChunks(ChunkReader):
    """Chunks among which some only tell what Azure's content filter found."""

    def __init__(self, secrets: Sequence[str], call: Call) -> None:
        super().__init__(secrets, call.wants_usage)
        self._call = call

    def feed(self, frame: Frame) -> Sequence[bytes]:
        known = bool(self.model)
        chunks = super().feed(frame)
        if self.model and not known:
            note_other_model(self._call, self.model)
        if b'"delta"' in frame.data or b'"content_filter' not in frame.data:
            return chunks
        return [mended for chunk in chunks if (mended := _with_deltas(chunk))]


def _with_deltas(chunk: bytes) -> bytes:
    """A chunk whose choices say nothing is left out; a choice that only ends gets its empty delta."""
    content = msgspec.json.decode(chunk)
    told = content.get("choices") or ()
    choices = [choice for choice in told if "delta" in choice or choice.get("finish_reason")]
    if not choices and not content.get("usage"):
        return b""
    content["choices"] = [{"delta": {}, **choice} for choice in choices]
    return wire.encode(content)


def note_other_model(call: Call, answered: str) -> None:
    """Tell that a deployment holds another model than its admin declared: cost and quirks are wrong then."""
    declared = call.target.underlying
    if declared and answered and not _same_model(declared, answered):
        call.adjusted.append(Adjustment("model", f"answered by {answered}, declared as {declared}"))


def _same_model(one: str, other: str) -> bool:
    """Azure leaves dots out and adds dates."""
    short, long = sorted((name.lower().replace(".", "") for name in (one, other)), key=len)
    return long.startswith(short) and re.fullmatch(r"|-\d{4}.*|-latest", long.removeprefix(short)) is not None


def _correlation(header: str, request_id: str) -> str:
    """A trace context has a form of its own, made from our id."""
    if header.lower() != "traceparent":
        return request_id
    digest = sha256(request_id.encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"
