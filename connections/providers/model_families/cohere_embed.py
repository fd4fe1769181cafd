"""Cohere's Embed models, with a purpose that OpenAI's embeddings do not have; `/v2/embed` speaks the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers.calls import JSON, Adjustment, Call, Mode, Reply, Target, Usage
from connections.providers.contract import Abilities
from connections.providers.model_families.cohere_usage import usage_of
from connections.providers.model_families.family import NOT_TOLD, PICTURE, Family, counted, refusal_in, texts_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import decoded, embedding_reply, mapping

INPUT_TYPES: Mapping[str, str] = {"query": "search_query", "document": "search_document"}
DEFAULT_INPUT_TYPE = "search_document"
MAX_TEXTS = 96
OLDER = ("v3", "v2.0")
"""Parts of the ids of models whose vectors have one size."""


class CohereEmbed(Family):
    name = "cohere-embed"
    mode = Mode.EMBEDDING
    can = Abilities(streams=False, inputs=MAX_TEXTS)
    parameters = ParameterTable.of("input_type", "truncate", dimensions=Rule("output_dimension"))

    def parameters_for(self, target: Target) -> ParameterTable:
        sized = not any(part in target.known_as for part in OLDER)
        return self.parameters if sized else self.parameters.without("dimensions")

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        del given["input"]
        texts, wished = texts_of(call), given.pop("input_type", None)
        if texts and all(text.startswith(PICTURE) for text in texts):
            call.adjusted.append(Adjustment("input", "sent as a picture"))
            return {"images": texts, "input_type": "image", "embedding_types": ["float"], **given}
        kind = INPUT_TYPES.get(wished, wished) if wished else DEFAULT_INPUT_TYPE
        if kind != wished:
            call.adjusted.append(Adjustment("input_type", f"sent as {kind}" if wished else f"set to {kind}"))
        return {"texts": texts, "input_type": kind, "embedding_types": ["float"], **given}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        content = decoded(body, secrets)
        if not (vectors := _vectors(content)):
            raise refusal_in(content, body, secrets)
        usage = counted(counted(usage_of(mapping(content.get("meta"))), told), Usage(completion_tokens=0))
        return embedding_reply(vectors, usage)


def _vectors(content: Mapping[str, Any]) -> Any:
    """By type, or the bare list of the older models."""
    found = content.get("embeddings")
    vectors = found.get("float") if isinstance(found, dict) else found
    whole = isinstance(vectors, list) and all(isinstance(vector, list) for vector in vectors)
    return vectors if whole else None
