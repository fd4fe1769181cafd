"""What a project has on Vertex AI: endpoints that it runs, models that it holds, models that Google publishes.

The lists come through our own guarded client like everything else; Google's library reads them, in a thread and
only here, as loading it takes a second and a hundred megabytes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers.calls import Mode, ModelInfo
from connections.providers.errors import BadReply
from connections.providers.gemini_models import VERTEX_CATALOGUE, wire_of
from connections.providers.problems import SENTENCES
from connections.providers.shapes import decoded, mappings, string

CALLED = ("gemini", "imagen", "text-embedding", "text-multilingual-embedding", "multimodalembedding")
"""How the names of Google's models begin that we can call."""
MODES: Mapping[str, Mode] = {
    "imagen": Mode.IMAGE,
    "predict_embedding": Mode.EMBEDDING,
    "content_embedding": Mode.EMBEDDING,
}
UNCALLABLE = ("live", "tts", "audio", "computer-use", "robotics")
"""Parts of the names of models for sound and the like."""

Pages = Sequence[bytes]


def next_page(page: bytes, secrets: Sequence[str]) -> str:
    return string(decoded(page, secrets), "nextPageToken")


def own(endpoints: Pages, models: Pages) -> list[ModelInfo]:
    """The project's endpoints that a model is deployed to. Blocks: Google's library is loaded here."""
    from google.cloud import aiplatform_v1  # noqa: PLC0415 - heavy: only lists of Vertex models load it
    from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]  # noqa: PLC0415

    def items(response: Any, pages: Pages, name: str) -> list[Any]:
        return [item for page in pages for item in getattr(response.from_json(page, ignore_unknown_fields=True), name)]

    try:
        held = items(aiplatform_v1.ListModelsResponse, models, "models")
        running = items(aiplatform_v1.ListEndpointsResponse, endpoints, "endpoints")
    except ParseError as error:
        raise BadReply(SENTENCES[BadReply], evidence="The list of endpoints or models.") from error
    names = {_model_id(model.name): model.display_name for model in held}
    return [info for item in running if (info := _endpoint(item, names))]


def _endpoint(item: Any, names: Mapping[str, str]) -> ModelInfo | None:
    """None: nothing is deployed there."""
    deployed = [_model_id(one.model) for one in item.deployed_models]
    if not deployed:
        return None
    model = names.get(deployed[0], "")
    label = f"{item.display_name} ({model})" if model and model != item.display_name else item.display_name
    return ModelInfo(f"endpoints/{item.name.rpartition('/')[2]}", label=label, family="endpoint")


def _model_id(name: str) -> str:
    """`123` of `projects/7/locations/us-central1/models/123@2`."""
    return name.rpartition("/")[2].partition("@")[0]


def published(pages: Pages, secrets: Sequence[str]) -> list[ModelInfo]:
    """Google's own models; the catalogue's, where the garden cannot be looked at."""
    items = [item for page in pages for item in mappings(decoded(page, secrets).get("publisherModels"))]
    ids = dict.fromkeys(_model_id(string(item, "name")) for item in items)
    found = [_info(name) for name in ids if name.startswith(CALLED) and not any(part in name for part in UNCALLABLE)]
    return found or [info for info in VERTEX_CATALOGUE if info.lifecycle != "retired"]


def _info(name: str) -> ModelInfo:
    known = next((info for info in VERTEX_CATALOGUE if info.id == name), None)
    drawn = Mode.IMAGE if "-image" in name else Mode.CHAT
    return known or ModelInfo(name, MODES.get(wire_of(name, drawn), drawn), family=name.partition("-")[0])
