"""Together AI. OpenAI's dialect with more sampling, pictures by width and height, and a bare list of models."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connections.providers import images, wire
from connections.providers.bearer import BearerDialect, BearerSettings, own_address
from connections.providers.calls import JSON, Adjustment, Call, Mode, ModelInfo
from connections.providers.fields import OpenAIUrl
from connections.providers.parameters import ParameterTable, Rule

MODES: Mapping[str, Mode] = {
    "chat": Mode.CHAT,
    "language": Mode.COMPLETION,
    "code": Mode.COMPLETION,
    "embedding": Mode.EMBEDDING,
    "image": Mode.IMAGE,
    "rerank": Mode.RERANK,
}
"""What the types in its list are for us."""
FORMATS = {"b64_json": "base64"}


class Together(BearerDialect):
    kind = "together"
    label = "Together AI"
    summary = "Open models for chat, pictures, embeddings and reranking."
    mark = "together"
    docs_url = "https://api.together.ai/settings/api-keys"
    price_provider = "together"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE, Mode.RERANK})
    takes_stream_options = False
    parameters = ParameterTable.of(
        *("temperature", "top_p", "max_tokens", "stop", "seed", "presence_penalty", "frequency_penalty", "top_k"),
        *("min_p", "repetition_penalty", "n", "logprobs", "top_logprobs", "logit_bias", "response_format", "tools"),
        *("tool_choice", "reasoning_effort", "echo", "top_n", "return_documents", "size", "negative_prompt", "steps"),
        *("output_format", "safety_model", "context_length_exceeded_behavior", "reasoning", "chat_template_kwargs"),
        *("image_url", "reference_images", "image_loras", "disable_safety_checker", "rank_fields"),
        cfg_scale=Rule("guidance_scale"),
    )
    catalogue = (
        ModelInfo("openai/gpt-oss-20b", family="gpt-oss", context=131_072, capabilities=frozenset({"tools"})),
        ModelInfo("moonshotai/Kimi-K2.6", family="kimi", capabilities=frozenset({"tools"})),
        ModelInfo("zai-org/GLM-5.1", family="glm", capabilities=frozenset({"tools"})),
        ModelInfo("meta-llama/Llama-3.3-70B-Instruct-Turbo", family="llama", capabilities=frozenset({"tools"})),
    )

    class Settings(BearerSettings):
        base_url: OpenAIUrl = own_address("https://api.together.ai/v1")

    settings: Settings

    def body(self, call: Call) -> JSON:
        body = super().body(call)
        if call.mode is Mode.IMAGE:
            _measure(call, body)
        elif call.mode is Mode.CHAT:
            _count_logprobs(call, body)
        return body

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        info, kind = super().model(item), item.get("type")
        if info is None or kind is None:
            return info
        mode = MODES.get(str(kind))
        return replace(info, mode=mode, label=str(item.get("display_name") or "")) if mode else None


def _measure(call: Call, body: JSON) -> None:
    """Pictures are asked for by width and height, and their bytes as `base64`."""
    size = body.pop("size", None)
    if measured := images.size_of(wire.plain(size)):
        body["width"], body["height"] = measured
        call.adjusted.append(Adjustment("size", "sent as width and height"))
    elif size is not None:
        call.adjusted.append(Adjustment("size", "dropped"))
    wanted = wire.plain(body.get("response_format"))
    if wanted is not None:
        body["response_format"] = FORMATS.get(wanted, wanted)


def _count_logprobs(call: Call, body: JSON) -> None:
    """`logprobs` is a number here, in chats too."""
    wanted, most = wire.plain(body.pop("logprobs", None)), wire.plain(body.pop("top_logprobs", None))
    if wanted or most:
        body["logprobs"] = most or 1
        call.adjusted.append(Adjustment("top_logprobs" if most else "logprobs", f"sent as logprobs {most or 1}"))
    elif wanted is not None or most is not None:
        call.adjusted.append(Adjustment("logprobs", "dropped"))
