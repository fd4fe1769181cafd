"""Anthropic, through its messages route; the first models through its old route for texts."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from connections.providers import problems, wire
from connections.providers.anthropic_models import CAN, CATALOGUE, ClaudeOptions, Quirks, quirks_of
from connections.providers.anthropic_replies import MessageReader, completion
from connections.providers.anthropic_requests import PARAMETERS, SAMPLING, messages_body
from connections.providers.calls import JSON, Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import NOTHING, Abilities, Auth, EventReader, Provider, StaticHeaders
from connections.providers.errors import ProviderError
from connections.providers.fields import HeaderText, Secret, Url, joined
from connections.providers.model_families.claude_text import ClaudeText
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.prompt_formats import PromptOptions, Rendered
from connections.providers.settings import ProviderSettings, setting

BASE_URL = "https://api.anthropic.com"
WITHOUT_SAMPLING = "2026-10-21"
"""The version of the API that refuses sampling parameters of every model."""


class Complete(ClaudeText):
    """The old route, which is told who asks besides."""

    parameters = ClaudeText.parameters.changed(user=Rule("metadata"))

    def body(self, call: Call) -> JSON:
        body = super().body(call)
        return {**body, "metadata": {"user_id": body["metadata"]}} if "metadata" in body else body


COMPLETE = Complete()


class AnthropicOptions(ClaudeOptions, PromptOptions):
    """The prompt format is for the first models, where they continue texts."""


class Anthropic(Provider):
    kind = "anthropic"
    label = "Anthropic"
    summary = "Claude models from Anthropic."
    mark = "anthropic"
    order = 20
    docs_url = "https://platform.claude.com/settings/keys"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION})
    catalogue = CATALOGUE
    price_provider = "anthropic"
    parameters = PARAMETERS
    ModelOptions: ClassVar[type[AnthropicOptions]] = AnthropicOptions

    class Settings(ProviderSettings):
        api_key: Secret = setting("API key", help="Begins with sk-ant-.")
        base_url: Annotated[Url, AfterValidator(lambda url: url.removesuffix("/v1"))] = setting(
            "Base URL",
            default=BASE_URL,
            help="Change it only for a gateway that speaks Anthropic's dialect.",
            target=True,
            advanced=True,
            placeholder=BASE_URL,
        )
        version: Literal["2023-06-01", "2026-10-21"] = setting(
            "API version",
            default="2023-06-01",
            help="2026-10-21 takes no temperature, top_p and top_k; they are left out then.",
            advanced=True,
        )
        beta: HeaderText = setting(
            "Beta features", default="", help="Names for the anthropic-beta header, with commas.", advanced=True
        )

    settings: Settings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        self._secrets = self.secrets()
        self._auth = StaticHeaders({"x-api-key": self.settings.api_key.get_secret_value()})
        named = {"anthropic-version": self.settings.version, "anthropic-beta": self.settings.beta}
        told = {name: value for name, value in named.items() if value}
        self._headers = {"Content-Type": "application/json", **told}
        self._base_url = self.settings.base_url or BASE_URL

    @property
    def auth(self) -> Auth:
        return self._auth

    def request(self, call: Call) -> Outgoing:
        if call.mode is Mode.COMPLETION:
            path, body = "v1/complete", {"model": call.target.upstream_id, **COMPLETE.body(call)}
            body |= {"stream": True} if call.stream else {}
        else:
            table = self.parameters_for(call.target)
            path, body = "v1/messages", messages_body(call, table, self._quirks(call.target))
        return Outgoing("POST", joined(self._base_url, path), self._headers, wire.encode(body))

    def reply(self, call: Call, answer: Answer) -> Reply:
        if call.mode is Mode.COMPLETION:
            return COMPLETE.reply(call, answer.body, self._secrets)
        return completion(answer.body, self._secrets)

    def events(self, call: Call) -> EventReader:
        if call.mode is Mode.COMPLETION:
            return COMPLETE.events(call, self._secrets)
        return MessageReader(self._secrets, call.wants_usage)

    def problem(self, answer: Answer) -> ProviderError:
        return problems.named(answer, self._secrets)

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self._base_url, "v1/models", "limit=1000"), self._headers)

    def models(self, answer: Answer) -> list[ModelInfo]:
        content = wire.decode(wire.ANY, answer.body, self._secrets)
        listed = content.get("data") if isinstance(content, dict) else None
        if not isinstance(listed, list):
            raise problems.unreadable(answer.body, self._secrets)
        return [_model(item) for item in listed if isinstance(item, dict) and isinstance(item.get("id"), str)]

    def parameters_for(self, target: Target) -> ParameterTable:
        if target.mode is Mode.COMPLETION:
            return COMPLETE.parameters_for(target)
        samples = self._quirks(target).sampling and self.settings.version != WITHOUT_SAMPLING
        return self.parameters if samples else self.parameters.without(*SAMPLING)

    def abilities(self, target: Target) -> Abilities:
        return COMPLETE.abilities(target) if target.mode is Mode.COMPLETION else super().abilities(target)

    def prompt(self, call: Call) -> Rendered:
        return COMPLETE.prompt(call)

    def _quirks(self, target: Target) -> Quirks:
        return quirks_of(target.known_as).overridden(target.options)


def _model(item: Mapping[str, Any]) -> ModelInfo:
    lifecycle, ends = item.get("lifecycle"), item.get("retires_at")
    context, most = item.get("max_input_tokens"), item.get("max_tokens")
    return ModelInfo(
        item["id"],
        label=str(item.get("display_name") or ""),
        family="claude",
        context=context if isinstance(context, int) else None,
        max_output=most if isinstance(most, int) else None,
        capabilities=CAN,
        lifecycle=lifecycle if lifecycle in {"deprecated", "retired"} else "",
        ends=ends[:10] if isinstance(ends, str) else "",
    )
