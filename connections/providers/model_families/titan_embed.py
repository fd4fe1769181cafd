"""Amazon's Titan embeddings: one text per request; the multimodal one takes a picture too."""

from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers import wire
from connections.providers.calls import JSON, Adjustment, Call, Mode, Reply, Target, Usage
from connections.providers.contract import Abilities
from connections.providers.errors import RequestRefused
from connections.providers.model_families.family import NOT_TOLD, PICTURE, Family, counted, refusal_in, texts_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import decoded, embedding_reply, mapping

FIRST = ("titan-embed-text-v1", "titan-embed-g1-text")
"""Parts of the ids of models that take the text and nothing else."""


class TitanEmbed(Family):
    name = "titan-embed"
    mode = Mode.EMBEDDING
    can = Abilities(streams=False, inputs=1)
    parameters = ParameterTable.of("dimensions", "normalize")

    def parameters_for(self, target: Target) -> ParameterTable:
        sized = not any(part in target.known_as for part in FIRST)
        return self.parameters if sized else self.parameters.without("dimensions", "normalize")

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        del given["input"]
        return {"inputText": _one_text(call), **given}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        content = decoded(body, secrets)
        vector = content.get("embedding") or mapping(content.get("embeddingsByType")).get("float")
        if not isinstance(vector, list) or _said(content):
            raise refusal_in(content, body, secrets)
        usage = counted(counted(wire.usage(content.get("inputTextTokenCount"), 0), told), Usage(completion_tokens=0))
        return embedding_reply([vector], usage)


class TitanEmbedImage(TitanEmbed):
    name = "titan-embed-image"
    parameters = ParameterTable.of(dimensions=Rule("outputEmbeddingLength"))

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        text = _one_text(call)
        length = given.get("outputEmbeddingLength")
        sized = {} if length is None else {"embeddingConfig": {"outputEmbeddingLength": length}}
        if text.startswith(PICTURE):
            call.adjusted.append(Adjustment("input", "sent as a picture"))
            return {"inputImage": text.partition(",")[2], **sized}
        return {"inputText": text, **sized}


def _one_text(call: Call) -> str:
    texts = texts_of(call)
    if len(texts) != 1:
        raise RequestRefused("This model embeds one text at a time.", status=400)
    return texts[0]


def _said(content: Mapping[str, Any]) -> bool:
    """Whether a message says what went wrong, though the answer is a good one by its status."""
    return bool(content.get("message"))
