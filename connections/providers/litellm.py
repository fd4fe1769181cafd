"""A LiteLLM proxy as upstream: every route, codes that are texts, and a list of models that tells their limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers import problems, wire
from connections.providers.bearer import BearerDialect, BearerSettings
from connections.providers.calls import Answer, Call, Frame, Mode, ModelInfo, Outgoing, Reply, Steps
from connections.providers.contract import EventReader
from connections.providers.errors import ProviderError
from connections.providers.fields import OpenAIUrl, Secret, joined
from connections.providers.openai_replies import ChunkReader
from connections.providers.parameters import COMMON, KNOWN, ParameterTable
from connections.providers.settings import setting

MODES: Mapping[str, Mode] = {
    "chat": Mode.CHAT,
    "responses": Mode.CHAT,
    "completion": Mode.COMPLETION,
    "embedding": Mode.EMBEDDING,
    "image_generation": Mode.IMAGE,
    "rerank": Mode.RERANK,
}
CAPABILITIES = {
    "supports_function_calling": "tools",
    "supports_vision": "vision",
    "supports_response_schema": "json_schema",
    "supports_reasoning": "reasoning",
    "supports_system_messages": "system",
}
WORDS: Mapping[str, str] = {
    "Invalid model name passed": "model_not_found",
    "ContextWindowExceededError": "context_length_exceeded",
    "ContentPolicyViolationError": "content_filter",
    "BudgetExceededError": "insufficient_quota",
    "Budget has been exceeded": "insufficient_quota",
}
"""What the proxy tells in words only, under statuses that mean something else, and the name that we know it by."""


class LiteLLM(BearerDialect):
    kind = "litellm"
    label = "LiteLLM proxy"
    summary = "Another gateway: all models behind a LiteLLM proxy."
    mark = "litellm"
    group = "gateway"
    docs_url = "https://docs.litellm.ai/docs/simple_proxy"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE, Mode.RERANK})
    parameters = ParameterTable.of(*COMMON, *KNOWN[Mode.IMAGE], *KNOWN[Mode.RERANK], "tags", "thinking").without(
        "input_type"
    )

    class Settings(BearerSettings):
        api_key: Secret = setting("Key", help="A virtual key (sk-…) of the proxy, or its master key.", min_length=1)
        base_url: OpenAIUrl = setting(
            "Proxy URL",
            help="Where the proxy listens. Without any path, /v1 is added.",
            target=True,
            placeholder="http://litellm.internal:4000",
            min_length=1,
        )

    settings: Settings

    def headers_of(self, call: Call) -> Mapping[str, str]:
        """The proxy logs calls under an id; ours joins its logs with ours."""
        return {**self._headers, "x-litellm-call-id": call.request_id} if call.request_id else self._headers

    def reply(self, call: Call, answer: Answer) -> Reply:
        if b'"error"' in answer.body[:200]:
            return super().reply(call, Answer(answer.status, answer.headers, _plainly(answer.body)))
        return super().reply(call, answer)

    def events(self, call: Call) -> EventReader:
        return Chunks(self._secrets, call.wants_usage)

    def problem(self, answer: Answer) -> ProviderError:
        return problems.named(Answer(answer.status, answer.headers, _plainly(answer.body)), self._secrets)

    # --- models ---

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        """`/model/info` tells more than the list; not every virtual key may read it."""
        told = yield Outgoing("GET", joined(self.base_url, "model/info"), self._headers)
        content = wire.fields(told.body) if told.status < 300 else {}
        rows = content.get("data")
        found: dict[str, ModelInfo] = {}
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and (info := _info(row)):
                found.setdefault(info.id, info)  # several deployments may share a name
        return list(found.values()) or self.models(answer)


class Chunks(ChunkReader):
    def feed(self, frame: Frame) -> Sequence[bytes]:
        if b'"error"' in frame.data[:200]:
            frame = Frame(frame.event, _plainly(frame.data))
        return super().feed(frame)


def _plainly(data: bytes) -> bytes:
    """An error with a code as others have it: a number where it is a status, a name where words tell one."""
    content = wire.fields(data)
    error = content.get("error")
    if not isinstance(error, dict):
        return data
    code, message = error.get("code"), str(error.get("message") or "")
    name = next((name for words, name in WORDS.items() if words in message), None)
    if name is None and isinstance(code, str) and code.isdecimal():
        return wire.encode({**content, "error": {**error, "code": int(code[:3])}})
    return wire.encode({**content, "error": {**error, "code": name or code}})


def _info(row: Mapping[str, Any]) -> ModelInfo | None:
    """One model as `/model/info` tells it; None: nothing that we can call."""
    name, told = row.get("model_name"), row.get("model_info")
    told = told if isinstance(told, dict) else {}
    mode = MODES.get(str(told.get("mode") or "chat"))
    if not isinstance(name, str) or mode is None:
        return None
    context, most = told.get("max_input_tokens") or told.get("max_tokens"), told.get("max_output_tokens")
    return ModelInfo(
        name,
        mode,
        context=context if isinstance(context, int) else None,
        max_output=most if isinstance(most, int) else None,
        capabilities=frozenset(ours for theirs, ours in CAPABILITIES.items() if told.get(theirs) is True),
    )
