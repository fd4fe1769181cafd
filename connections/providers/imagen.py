"""Pictures of the Imagen models, through `predict`. Google has switched them off; private hosts may still have them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connections.providers import images, problems, wire
from connections.providers.calls import JSON, Adjustment, Call, Mode, Reply, Usage
from connections.providers.contract import Abilities
from connections.providers.gemini_requests import aspect_ratio
from connections.providers.google_family import GoogleFamily
from connections.providers.images import Picture
from connections.providers.model_families.family import NOT_TOLD
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import decoded, mapping, string

CHOICES = 4
RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9")
OWN = ("addWatermark", "enhancePrompt", "language", "personGeneration", "safetySetting", "sampleImageSize")
TABLE = ParameterTable.of(
    *OWN,
    "aspect_ratio",
    "output_compression",
    "output_format",
    "seed",
    "size",
    n=Rule("sampleCount"),
    negative_prompt=Rule("negativePrompt"),
)
FORMATS: Mapping[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "jpg": "image/jpeg"}


KNOWN = frozenset({"predictions", "deployedModelId", "metadata", "model", "modelDisplayName", "modelVersionId"})
"""What an answer holds; with all pictures filtered it may hold none of it."""


class Imagen(GoogleFamily):
    name = "imagen"
    mode = Mode.IMAGE
    parameters = TABLE
    can: ClassVar[Abilities] = Abilities(streams=False, choices=CHOICES)

    def body(self, call: Call) -> JSON:
        given = {name: wire.plain(value) for name, value in self.parameters.apply(call).items()}
        instance, parameters = {"prompt": given.pop("prompt")}, {"sampleCount": given.pop("sampleCount", 1)}
        if ratio := aspect_ratio(call, given, RATIOS):
            parameters["aspectRatio"] = ratio
        if options := _output(call, given):
            parameters["outputOptions"] = options
        if "seed" in given and "addWatermark" not in given:
            given["addWatermark"] = False
            call.adjusted.append(Adjustment("seed", "sent with the watermark switched off, as it needs"))
        return {"instances": [instance], "parameters": {**parameters, **given}}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        """Filtered pictures are missing, or stand there with the reason alone."""
        content = decoded(body, secrets)
        found = content.get("predictions", [])
        if not isinstance(found, list) or (content and not content.keys() & KNOWN):
            raise problems.unreadable(body, secrets)
        pictures = [picture for item in found if (picture := _picture(mapping(item)))]
        return images.reply_of(pictures, model=call.target.upstream_id)


def _output(call: Call, given: JSON) -> JSON:
    wished, quality = given.pop("output_format", None), given.pop("output_compression", None)
    kind = FORMATS.get(str(wished))
    if wished is not None and kind is None:
        call.adjusted.append(Adjustment("output_format", "dropped: it is png or jpeg here"))
    made: JSON = {"mimeType": kind} if kind else {}
    if quality is not None and kind == "image/jpeg":
        return {**made, "compressionQuality": quality}
    if quality is not None:
        call.adjusted.append(Adjustment("output_compression", "dropped: it is for jpeg"))
    return made


def _picture(item: Mapping[str, Any]) -> Picture | None:
    data = string(item, "bytesBase64Encoded")
    return Picture(data, revised_prompt=string(item, "prompt")) if data else None
