"""Servers that run one model each and are asked by posting JSON, without any key; streams repeat the text so far."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connections.providers import problems, wire
from connections.providers.calls import Answer, Framing, Mode, Outgoing, Target
from connections.providers.contract import ONE_CHOICE, Abilities, Auth, Provider, StaticHeaders
from connections.providers.errors import ProviderError
from connections.providers.fields import joined
from connections.providers.parameters import ParameterTable


class Worker(Provider):
    """Subclasses say what is posted where."""

    group = "self_hosted"
    price_provider = "local"
    framing = Framing.NUL
    embedding: ParameterTable
    """What a request for vectors may hold."""

    @property
    def auth(self) -> Auth:
        return StaticHeaders()

    def post(self, base: str, path: str, body: Mapping[str, Any]) -> Outgoing:
        return Outgoing("POST", joined(base, path), {"Content-Type": "application/json"}, wire.encode(body))

    def problem(self, answer: Answer) -> ProviderError:
        return problems.named(answer, ())

    def parameters_for(self, target: Target) -> ParameterTable:
        return self.embedding if target.mode is Mode.EMBEDDING else self.parameters

    def abilities(self, target: Target) -> Abilities:
        return replace(ONE_CHOICE, inputs=64)
