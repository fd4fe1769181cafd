"""Open models that Google runs as a service (Llama, Qwen, gpt-oss and others): OpenAI's chats behind one address."""

from collections.abc import Sequence
from typing import ClassVar

from connections.providers.calls import JSON, Call, Mode, Reply, Usage
from connections.providers.contract import Abilities, EventReader
from connections.providers.model_families.family import NOT_TOLD, Family
from connections.providers.openai_replies import ChunkReader, completion
from connections.providers.parameters import ParameterTable, Rule

PATH = "endpoints/openapi/chat/completions"


class OpenModels(Family):
    name = "open_models"
    mode = Mode.CHAT
    parameters = ParameterTable.of(
        *("temperature", "top_p", "max_tokens", "stop", "seed", "presence_penalty", "frequency_penalty"),
        *("response_format", "tools", "tool_choice", "reasoning_effort"),
        max_completion_tokens=Rule("max_tokens"),
    )
    can: ClassVar[Abilities] = Abilities(choices=1, image_urls=False)

    def body(self, call: Call) -> JSON:
        streamed = {"stream": True, "stream_options": {"include_usage": True}} if call.stream else {}
        return {"model": model_name(call.target.upstream_id), **self.parameters.apply(call), **streamed}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        return completion(body, secrets)

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return ChunkReader(secrets, call.wants_usage)


def model_name(upstream_id: str) -> str:
    """`meta/llama-3.3-70b-instruct-maas`, however it was written."""
    return upstream_id.removeprefix("publishers/").replace("/models/", "/")
