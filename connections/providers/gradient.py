"""gradient.ai: completions by base models and adapters, and embeddings. Retired; DigitalOcean has the name now."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from connections.providers import feature_extraction, problems, text_generation, wire
from connections.providers.bearer import BearerDialect, BearerSettings
from connections.providers.calls import (
    JSON,
    Adjustment,
    Answer,
    Call,
    Mode,
    ModelInfo,
    Outgoing,
    Reply,
    Steps,
    Target,
    Usage,
)
from connections.providers.contract import Abilities, Retired
from connections.providers.errors import ProviderError
from connections.providers.fields import HeaderText, OpenAIUrl, in_path, joined
from connections.providers.openai_addresses import archived_address
from connections.providers.openai_dialect import DialectOptions
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.settings import setting
from connections.providers.shapes import completion_reply

MOST = 511
TEXT = ParameterTable.of(
    *("temperature", "stop", "guidance", "rag"),
    top_k=Rule("topK"),
    top_p=Rule("topP"),
    max_tokens=Rule("maxGeneratedTokenCount", maximum=MOST),
)
VECTOR = ParameterTable.of()
NAMES: Mapping[str, str] = {
    "flaggedContent": "content_filter",
    "unknownBaseModel": "model_not_found",
    "unknownModelAdapter": "model_not_found",
}
"""What its errors are called elsewhere."""
REASONS = {"maxLength": "length", "max_length": "length", "length": "length"}
WHOLE = Abilities(streams=False, choices=1, inputs=256, prompts=1)


class GradientOptions(DialectOptions):
    auto_template: bool = setting(
        "Let Gradient write the prompt",
        default=False,
        help="It puts the text into the base model's template; only for single questions, not for conversations.",
        advanced=True,
    )


class Gradient(BearerDialect):
    kind = "gradient"
    label = "Gradient (gradient.ai)"
    summary = "Base models and adapters at gradient.ai, which is switched off."
    mark = "gradient"
    retired = Retired("", "DigitalOcean Gradient")
    price_provider = "gradient"
    modes = frozenset({Mode.COMPLETION, Mode.EMBEDDING})
    ModelOptions = GradientOptions

    class Settings(BearerSettings):
        base_url: OpenAIUrl = archived_address()
        workspace_id: HeaderText = setting("Workspace", help="Its id.", min_length=1)

    settings: Settings

    def extra_headers(self) -> Mapping[str, str]:
        return {"x-gradient-workspace-id": self.settings.workspace_id}

    def request(self, call: Call) -> Outgoing:
        embeds = call.mode is Mode.EMBEDDING
        name = in_path(call.target.upstream_id)
        path = f"embeddings/{name}" if embeds else f"models/{name}/complete"
        body = self._inputs(call) if embeds else self._query(call)
        return Outgoing("POST", joined(self.base_url, path), self._headers, wire.encode(body))

    def _inputs(self, call: Call) -> JSON:
        VECTOR.apply(call)
        return {"inputs": [{"input": text} for text in feature_extraction.texts_of(call)]}

    def _query(self, call: Call) -> JSON:
        """It has no stop sequences; they are applied to the answer."""
        body = TEXT.apply(call)
        if body.pop("stop", None) is not None:
            call.adjusted.append(Adjustment("stop", "applied to the whole answer"))
        template = GradientOptions.stored(call.target.options).auto_template
        return {"query": text_generation.text_of(body.pop("prompt")), "autoTemplate": template, **body}

    def _table(self, target: Target) -> ParameterTable:
        return VECTOR if target.mode is Mode.EMBEDDING else TEXT

    def abilities(self, target: Target) -> Abilities:
        return WHOLE

    # --- answers ---

    def reply(self, call: Call, answer: Answer) -> Reply:
        whole = wire.decode(_WHOLE, answer.body, self._secrets)
        if whole.type or whole.error:
            raise self.problem(structs.replace(answer, status=500))
        if call.mode is Mode.EMBEDDING:
            return _vectors(call, whole.embeddings, answer, self._secrets)
        if whole.generatedOutput is None:
            raise problems.unreadable(answer.body, self._secrets)
        return _text(call, whole.generatedOutput, whole.finishReason)

    def problem(self, answer: Answer) -> ProviderError:
        content = wire.fields(answer.body)
        kind = content.get("type")
        if isinstance(kind, str) and "message" not in content:
            named = {"error": {"message": kind, "code": NAMES.get(kind, kind)}}
            answer = structs.replace(answer, body=wire.encode(named))
        return super().problem(answer)

    # --- models ---

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        """Embeddings have a list of their own."""
        told = yield Outgoing("GET", joined(self.base_url, "embeddings"), self._headers)
        rows = wire.fields(told.body).get("embeddings") if told.status < 300 else None
        slugs = [row.get("slug") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return self.models(answer) + [ModelInfo(slug, Mode.EMBEDDING) for slug in slugs if isinstance(slug, str)]

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        name, can = item.get("id"), item.get("capabilities")
        if not isinstance(name, str) or (isinstance(can, list) and "complete" not in can):
            return None
        return ModelInfo(name, Mode.COMPLETION, label=str(item.get("name") or ""))


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Whole(msgspec.Struct):
    generatedOutput: str | None = None  # noqa: N815 - the wire's own name
    finishReason: str = ""  # noqa: N815
    embeddings: list[_Vector] = []
    type: Any = None
    error: Any = None


_WHOLE = msgspec.json.Decoder(_Whole)


def _text(call: Call, text: str, reason: str) -> Reply:
    """There is no usage: what was used is estimated."""
    finish = REASONS.get(reason, "stop")
    for stop in text_generation.stops_of(call):
        text = text.partition(stop)[0]
    return completion_reply([(text, finish)], Usage(), model=call.target.upstream_id)


def _vectors(call: Call, found: Sequence[_Vector], answer: Answer, secrets: Sequence[str]) -> Reply:
    rows = structs.replace(answer, body=wire.encode([one.embedding for one in found]))
    return feature_extraction.reply(call, rows, secrets)
