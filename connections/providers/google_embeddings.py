"""Embeddings of Google's models: many texts by `predict`, one or a batch of them by `embedContent`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connections.providers import problems, wire
from connections.providers.calls import JSON, Adjustment, Call, Mode, Reply, Target, Usage
from connections.providers.contract import Abilities
from connections.providers.google_family import GoogleFamily
from connections.providers.model_families.family import NOT_TOLD, texts_of
from connections.providers.openai_replies import packed
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import decoded, embedding_reply, mapping

TASKS: Mapping[str, str] = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}
IN_CONFIG = ("taskType", "title", "outputDimensionality", "autoTruncate")
PREDICTED = 250
"""Texts of one request; newer models take one."""
BATCHED = 100
ONE_TEXT = ("gemini-embedding", "multimodalembedding")
FLAT = ("embedding-001", "gemini-embedding-001", "text-embedding")
"""Models that take their wishes beside the text, not in a part of their own."""


class _Embeddings(GoogleFamily):
    mode = Mode.EMBEDDING
    parameters = ParameterTable.of(
        "autoTruncate", "encoding_format", "title", dimensions=Rule("outputDimensionality"), input_type=Rule("taskType")
    )

    def _wishes(self, call: Call) -> JSON:
        """All that is given beside the texts."""
        given = {name: wire.plain(value) for name, value in self.parameters.apply(call).items() if name != "input"}
        if given.pop("encoding_format", None) is not None:
            call.adjusted.append(Adjustment("encoding_format", "applied by us"))
        if task := given.get("taskType"):
            given["taskType"] = TASKS.get(task, str(task).upper())
        return given


class PredictedEmbeddings(_Embeddings):
    """The older models, and those that see pictures too."""

    name = "predicted_embeddings"

    def abilities(self, target: Target) -> Abilities:
        return Abilities(streams=False, inputs=1 if target.known_as.startswith(ONE_TEXT) else PREDICTED)

    def body(self, call: Call) -> JSON:
        given, texts = self._wishes(call), texts_of(call)
        if call.target.known_as.startswith("multimodal"):
            size = given.pop("outputDimensionality", None)
            parameters = {"dimension": size} if size is not None else {}
            return _predict([{"text": text} for text in texts], parameters, given)
        beside = {"task_type": given.pop("taskType", None), "title": given.pop("title", None)}
        each = {name: value for name, value in beside.items() if value is not None}
        parameters = {name: given.pop(name) for name in ("outputDimensionality", "autoTruncate") if name in given}
        return _predict([{"content": text, **each} for text in texts], parameters, given)

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        predictions = decoded(body, secrets).get("predictions")
        if not isinstance(predictions, list) or not predictions:
            raise problems.unreadable(body, secrets)
        found = [_prediction(mapping(item)) for item in predictions]
        counts = [wire.count(count)[0] for _, count in found]
        tokens = sum(count or 0 for count in counts) if any(counts) else None
        return _reply(call, [vector for vector, _ in found], wire.usage(tokens, 0), body, secrets)


class ContentEmbeddings(_Embeddings):
    """The newer models, one text at a time."""

    name = "content_embeddings"
    whole = "embedContent"
    can: ClassVar[Abilities] = Abilities(streams=False, inputs=1)

    def body(self, call: Call) -> JSON:
        return {"content": _content(texts_of(call)[0]), **_configured(self._wishes(call))}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        content = decoded(body, secrets)
        found = content.get("embeddings", [content.get("embedding")])
        if not isinstance(found, list) or not found:
            raise problems.unreadable(body, secrets)
        usage = wire.usage(mapping(content.get("usageMetadata")).get("promptTokenCount"), 0)
        return _reply(call, [mapping(item).get("values") for item in found], usage, body, secrets)


class BatchedEmbeddings(ContentEmbeddings):
    """The same in batches, which only the developer API has."""

    name = "batched_embeddings"
    whole = "batchEmbedContents"
    can: ClassVar[Abilities] = Abilities(streams=False, inputs=BATCHED)

    def body(self, call: Call) -> JSON:
        name, wishes = call.target.upstream_id.removeprefix("models/"), self._wishes(call)
        same = wishes if call.target.known_as.startswith(FLAT) else _configured(wishes)
        return {"requests": [{"model": f"models/{name}", "content": _content(text), **same} for text in texts_of(call)]}


def _predict(instances: Sequence[JSON], parameters: JSON, rest: JSON) -> JSON:
    return {"instances": instances, **({"parameters": parameters} if parameters else {}), **rest}


def _content(text: str) -> JSON:
    return {"parts": [{"text": text}]}


def _configured(given: JSON) -> JSON:
    config = {name: given.pop(name) for name in IN_CONFIG if name in given}
    return {**({"embedContentConfig": config} if config else {}), **given}


def _prediction(item: Mapping[str, Any]) -> tuple[Any, Any]:
    """The vector, and the tokens of its text."""
    embeddings = mapping(item.get("embeddings"))
    if not embeddings:
        return item.get("textEmbedding"), None
    return embeddings.get("values"), mapping(embeddings.get("statistics")).get("token_count")


def _reply(call: Call, vectors: Sequence[Any], usage: Usage, body: bytes, secrets: Sequence[str]) -> Reply:
    if not all(isinstance(vector, list) and vector and all(map(_is_number, vector)) for vector in vectors):
        raise problems.unreadable(body, secrets)
    shortened = call.body.get("dimensions") is not None
    made = [_at_length_one(vector) if shortened else vector for vector in vectors]
    reply = embedding_reply(made, usage, model=call.target.upstream_id)
    return packed(reply, secrets) if wire.plain(call.body.get("encoding_format")) == "base64" else reply


def _at_length_one(vector: Sequence[float]) -> list[float]:
    """Shortened vectors come as they were cut; callers compare them by angle or by product alike."""
    length = math.sqrt(math.fsum(number * number for number in vector))
    return [number / length for number in vector] if length else list(vector)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100
