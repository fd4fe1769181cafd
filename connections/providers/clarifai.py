"""Clarifai: chats through its OpenAI routes, everything else on its own wire.

A model is named by its address at clarifai.com, or shorter: `user/app/model`, with `/versions/…` behind if need be.
"""

import re
from typing import Any

from connections.providers import clarifai_native, wire
from connections.providers.bearer import BearerDialect, BearerSettings, own_address
from connections.providers.calls import Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import Abilities, Auth
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.fields import OpenAIUrl, Secret, joined
from connections.providers.parameters import ParameterTable
from connections.providers.settings import setting

HOME = "https://clarifai.com"
LAYER = "/ext/openai/v1"
PART = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
PLACE = re.compile(
    rf"(?:{HOME}/)?(?P<user>{PART})/(?P<app>{PART})/(?:models/)?(?P<model>{PART})(?:/versions/(?P<version>{PART}))?"
)
WHOLE = Abilities(streams=False, choices=1, inputs=32, prompts=1)


class Clarifai(BearerDialect):
    kind = "clarifai"
    label = "Clarifai"
    summary = "Community and private models for text, pictures and embeddings."
    mark = "clarifai"
    docs_url = "https://clarifai.com/settings/security"
    price_provider = "clarifai"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE})
    parameters = ParameterTable.of(
        *("temperature", "top_p", "max_tokens", "response_format", "tools", "tool_choice"),
        *("presence_penalty", "frequency_penalty"),
    )
    catalogue = (
        ModelInfo(f"{HOME}/openai/chat-completion/models/gpt-oss-120b", family="gpt-oss"),
        ModelInfo(f"{HOME}/anthropic/completion/models/claude-sonnet-4", family="claude"),
    )

    class Settings(BearerSettings):
        api_key: Secret = setting("Personal access token", help="From the account's security settings.", min_length=1)
        base_url: OpenAIUrl = own_address(f"https://api.clarifai.com/v2{LAYER}")

    settings: Settings

    def signing_in(self) -> Auth:
        return clarifai_native.PersonalToken(self.sign_in())

    def request(self, call: Call) -> Outgoing:
        place = PLACE.fullmatch(call.target.upstream_id)
        if place is None:
            raise RequestRefused("A model at Clarifai is written user/app/model, or as its address at clarifai.com.")
        version = f"/versions/{place['version']}" if place["version"] else ""
        if call.mode is Mode.CHAT:
            name = f"{HOME}/{place['user']}/{place['app']}/models/{place['model']}{version}"
            body: dict[str, Any] = {"model": name, **self.body(call)}
            return Outgoing("POST", self.url_of(call), self.headers_of(call), wire.encode(body))
        path = f"users/{place['user']}/apps/{place['app']}/models/{place['model']}{version}/outputs"
        body = clarifai_native.body(call, place["user"], place["app"])
        return Outgoing("POST", joined(self.base_url.removesuffix(LAYER), path), self._headers, wire.encode(body))

    def reply(self, call: Call, answer: Answer) -> Reply:
        if call.mode is Mode.CHAT:
            return super().reply(call, answer)
        return clarifai_native.reply(call, answer, self._secrets)

    def problem(self, answer: Answer) -> ProviderError:
        return clarifai_native.problem(answer, self._secrets)

    def _table(self, target: Target) -> ParameterTable:
        return clarifai_native.TABLES.get(target.mode) or super()._table(target)

    def abilities(self, target: Target) -> Abilities:
        return super().abilities(target) if target.mode is Mode.CHAT else WHOLE
