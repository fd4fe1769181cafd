"""Amazon's Titan Image Generator."""

from collections.abc import Mapping, Sequence

from connections.providers import images, problems, wire
from connections.providers.calls import JSON, Adjustment, Call, Mode, Reply, Usage
from connections.providers.contract import Abilities
from connections.providers.images import Picture
from connections.providers.model_families.family import NOT_TOLD, Family, refusal_in, text_of
from connections.providers.model_families.pictures import FILTERED, filtered, size_taken
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import mapping, string

MAX_IMAGES = 5
MAX_SEED = 2**31 - 2
QUALITIES: Mapping[str, str] = {"low": "standard", "medium": "standard", "high": "premium", "hd": "premium"}
"""OpenAI's words for what the model calls standard and premium."""


class TitanImage(Family):
    name = "titan-image"
    mode = Mode.IMAGE
    can = Abilities(streams=False, choices=MAX_IMAGES)
    parameters = ParameterTable.of(
        "quality",
        "size",
        n=Rule("numberOfImages"),
        cfg_scale=Rule("cfgScale", minimum=1.1, maximum=10),
        negative_prompt=Rule("negativeText"),
        seed=Rule(maximum=MAX_SEED),
    )

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        text = {"text": text_of(given.pop("prompt"))}
        if "negativeText" in given:
            text["negativeText"] = given.pop("negativeText")
        _set_quality(call, given)
        if size := size_taken(call, given):
            given["width"], given["height"] = size
        config = {"imageGenerationConfig": given} if given else {}
        return {"taskType": "TEXT_IMAGE", "textToImageParams": text, **config}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        """Where its filter took some of the pictures out, the answer holds the others, and says so."""
        content = mapping(wire.decode(wire.ANY, body, secrets))
        found = content.get("images")
        pictures = [Picture(one) for one in found if isinstance(one, str) and one] if isinstance(found, list) else []
        if pictures:
            return images.reply_of(pictures)
        if FILTERED.search(string(content, "error")):
            raise filtered(string(content, "error"), secrets)
        raise problems.inside(content, secrets) if content.get("error") else refusal_in(content, body, secrets)


def _set_quality(call: Call, given: JSON) -> None:
    wished = str(given.get("quality"))
    if wished in QUALITIES:
        given["quality"] = QUALITIES[wished]
        call.adjusted.append(Adjustment("quality", f"sent as {QUALITIES[wished]}"))
    elif wished == "auto":
        del given["quality"]
        call.adjusted.append(Adjustment("quality", "left to the model"))
