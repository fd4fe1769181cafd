"""Claude 3 and later where a cloud hosts them: Anthropic's messages with a version inside, without model and stream."""

from collections.abc import Sequence
from typing import ClassVar

from connections.providers import anthropic_replies, wire
from connections.providers.anthropic_models import quirks_of
from connections.providers.anthropic_requests import PARAMETERS, SAMPLING, messages_body
from connections.providers.calls import JSON, Call, Frame, Mode, Reply, Target, Usage
from connections.providers.contract import Abilities, EventReader
from connections.providers.model_families.family import METRICS, NOT_TOLD, Family, counted, metrics_of
from connections.providers.parameters import ParameterTable
from connections.providers.shapes import mapping

BEDROCK_VERSION = "bedrock-2023-05-31"
VERTEX_VERSION = "vertex-2023-10-16"
WITHOUT_SAMPLING = "2026-10-21"
"""The version that refuses sampling parameters of every model."""


class ClaudeMessages(Family):
    name = "claude-messages"
    mode = Mode.CHAT
    parameters = PARAMETERS.without("safety_identifier", "service_tier", "user")
    can: ClassVar[Abilities] = Abilities(choices=1, image_urls=False)

    def __init__(self, version: str = BEDROCK_VERSION) -> None:
        self._version = version

    def parameters_for(self, target: Target) -> ParameterTable:
        quirks = quirks_of(bare_name(target.known_as)).overridden(target.options)
        samples = quirks.sampling and self._version != WITHOUT_SAMPLING
        return self.parameters if samples else self.parameters.without(*SAMPLING)

    def body(self, call: Call) -> JSON:
        quirks = quirks_of(bare_name(call.target.known_as)).overridden(call.target.options)
        body = messages_body(call, self.parameters_for(call.target), quirks)
        left = {name: value for name, value in body.items() if name not in {"model", "stream"}}
        return {"anthropic_version": self._version, **left}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        return anthropic_replies.completion(body, secrets, told)

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return HostedMessageReader(secrets, call.wants_usage)


class HostedMessageReader(anthropic_replies.MessageReader):
    """Anthropic's events, the last of which carries the host's own counts."""

    def feed(self, frame: Frame) -> Sequence[bytes]:
        chunks = super().feed(frame)
        if METRICS.encode() in frame.data:
            event = mapping(wire.decode(wire.ANY, frame.data, self._secrets))
            self.usage = counted(self.usage, metrics_of(event))
        return chunks


def bare_name(model: str) -> str:
    """`claude-sonnet-4-20250514` of what a cloud calls `us.anthropic.claude-sonnet-4-20250514-v1:0`."""
    return model[max(model.find("claude"), 0) :]
