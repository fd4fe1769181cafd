"""Groq: open models on its own chips. OpenAI's dialect, with usage and failures of streams under `x_groq`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from connections.providers import problems, wire
from connections.providers.bearer import BearerDialect, BearerSettings, own_address
from connections.providers.calls import Adjustment, Answer, Call, Frame, Mode, ModelInfo, Target, Usage
from connections.providers.contract import EventReader
from connections.providers.errors import ProviderError
from connections.providers.fields import OpenAIUrl
from connections.providers.openai_dialect import Quirks
from connections.providers.openai_replies import ChunkReader, usage_of
from connections.providers.parameters import ParameterTable

BASE_URL = "https://api.groq.com/openai/v1"
NO_CAPACITY = 498
"""Groq's own status: the flex tier has no room."""
NOT_CALLED = ("guard", "orpheus", "tts", "whisper")
"""Parts of the ids of models for sound and for judging texts."""
CATALOGUE = tuple(
    ModelInfo(name, family=family, context=131_072, capabilities=frozenset({"tools", "json_schema", "reasoning"}))
    for name, family in (
        ("openai/gpt-oss-120b", "gpt-oss"),
        ("openai/gpt-oss-20b", "gpt-oss"),
        ("openai/gpt-oss-safeguard-20b", "gpt-oss"),
        ("qwen/qwen3.8-27b", "qwen"),
    )
)


class Groq(BearerDialect):
    kind = "groq"
    label = "Groq"
    summary = "Open models at high speed, on chips made for them."
    mark = "groq"
    docs_url = "https://console.groq.com/keys"
    catalogue = CATALOGUE
    price_provider = "groq"
    modes = frozenset({Mode.CHAT, Mode.EMBEDDING})
    parameters = ParameterTable.of(
        *("temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "response_format"),
        *("tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "service_tier", "user"),
        *("encoding_format", "include_reasoning", "reasoning_format", "search_settings", "compound_custom"),
        *("documents", "citation_options", "disable_tool_validation"),
    )

    class Settings(BearerSettings):
        base_url: OpenAIUrl = own_address(BASE_URL)

    settings: Settings

    def quirks(self, target: Target) -> Quirks:
        return Quirks(max_tokens="max_completion_tokens")

    def body(self, call: Call) -> dict[str, Any]:
        body = super().body(call)
        if "messages" in body and b'"name"' in wire.encode(body["messages"]):
            body["messages"] = _without_names(call, wire.plain(body["messages"]))
        return body

    def events(self, call: Call) -> EventReader:
        return Chunks(self._secrets, call.wants_usage)

    def problem(self, answer: Answer) -> ProviderError:
        error = super().problem(structs.replace(answer, status=503) if answer.status == NO_CAPACITY else answer)
        error.status = answer.status
        return error

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        info = super().model(item)
        if info is None or item.get("active") is False or any(part in info.id for part in NOT_CALLED):
            return None
        context, most = item.get("context_window"), item.get("max_completion_tokens")
        return replace(
            next((known for known in CATALOGUE if known.id == info.id), info),
            context=context if isinstance(context, int) else None,
            max_output=most if isinstance(most, int) else None,
        )


def _without_names(call: Call, messages: Any) -> Any:
    """Groq refuses the names of speakers."""
    if any("name" in message for message in messages):
        call.adjusted.append(Adjustment("messages.name", "dropped"))
    return [{name: value for name, value in message.items() if name != "name"} for message in messages]


class Chunks(ChunkReader):
    """The last chunk has the usage under `x_groq`, asked for or not; what stopped a stream is told there too."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        super().__init__(secrets, wants_usage)
        self._own_usage: Usage | None = None

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if b'"x_groq"' in frame.data and not self._done:
            self._read(frame.data)
        return super().feed(frame)

    def _read(self, data: bytes) -> None:
        chunk = wire.decode(wire.ANY, data, self._secrets)
        told = chunk.get("x_groq") if isinstance(chunk, dict) else None
        if not isinstance(told, dict):
            return
        if told.get("error"):
            raise problems.inside({"error": {"message": str(told["error"])}}, self._secrets)
        if isinstance(told.get("usage"), dict):
            self.usage = self._own_usage = usage_of(told["usage"])

    def end(self) -> Iterable[bytes]:
        """A usage that came under `x_groq` only is told as OpenAI tells it."""
        yield from super().end()
        if self.usage is self._own_usage and self._wants_usage:
            head = {"object": "chat.completion.chunk", "model": self.model, "choices": []}
            yield wire.encode({**head, "usage": self.usage.as_openai()})
