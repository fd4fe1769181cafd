"""Stability's models where a cloud hosts them: SDXL, and Stable Image Core, Ultra and SD3."""

from collections.abc import Sequence

from connections.providers import images, wire
from connections.providers.calls import JSON, Adjustment, Call, Mode, Reply, Usage
from connections.providers.contract import Abilities
from connections.providers.errors import ServerFailed
from connections.providers.images import Picture
from connections.providers.model_families.family import NOT_TOLD, Family, ended, refusal_in, text_of
from connections.providers.model_families.pictures import FILTERED, filtered, nearest, size_taken
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import mapping, mappings, string

MAX_SEED = 2**32 - 1
WIDE = ((1024, 1024), (1152, 896), (1216, 832), (1344, 768), (1536, 640))
SIZES = (*WIDE, *((height, width) for width, height in WIDE[1:]))
"""The only sizes that SDXL draws."""
RATIOS = ("1:1", "16:9", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")
FORMATS = {"png": "PNG", "jpeg": "JPEG"}
ONE = Abilities(streams=False, choices=1)


class SDXL(Family):
    name = "sdxl"
    mode = Mode.IMAGE
    can = ONE
    parameters = ParameterTable.of(
        "negative_prompt",
        "size",
        "style_preset",
        cfg_scale=Rule(minimum=0, maximum=35),
        seed=Rule(maximum=MAX_SEED),
        steps=Rule(minimum=10, maximum=50),
    )

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        prompts = [{"text": text_of(given.pop("prompt")), "weight": 1}]
        if negative := given.pop("negative_prompt", None):
            prompts.append({"text": negative, "weight": -1})
            call.adjusted.append(Adjustment("negative_prompt", "sent as a prompt of weight -1"))
        if size := size_taken(call, given):
            drawn = nearest(size, SIZES)
            given["width"], given["height"] = drawn
            if drawn != size:
                call.adjusted.append(Adjustment("size", f"set to {drawn[0]}x{drawn[1]}"))
        return {"text_prompts": prompts, **given}

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        content = mapping(wire.decode(wire.ANY, body, secrets))
        artifacts = mappings(content.get("artifacts"))
        good = [one for one in artifacts if string(one, "base64") and one.get("finishReason", "SUCCESS") == "SUCCESS"]
        if good:
            return images.reply_of([Picture(string(one, "base64")) for one in good])
        reasons = [string(one, "finishReason") for one in artifacts]
        if "CONTENT_FILTERED" in reasons:
            raise filtered("CONTENT_FILTERED", secrets)
        if "ERROR" in reasons:
            raise ended(ServerFailed, "ERROR")
        raise refusal_in(content, body, secrets)


class StableImage(Family):
    name = "stable-image"
    mode = Mode.IMAGE
    can = ONE
    parameters = ParameterTable.of(
        "aspect_ratio", "negative_prompt", "output_format", "size", seed=Rule(minimum=0, maximum=MAX_SEED)
    )

    def body(self, call: Call) -> JSON:
        given = self.parameters_for(call.target).apply(call)
        given["prompt"] = text_of(given["prompt"])
        self._set_ratio(call, given)
        wished = str(given.pop("output_format", ""))
        if wished and wished not in FORMATS:
            call.adjusted.append(Adjustment("output_format", "dropped"))
        return {**given, **({"output_format": FORMATS[wished]} if wished in FORMATS else {})}

    @staticmethod
    def _set_ratio(call: Call, given: JSON) -> None:
        size = size_taken(call, given)
        if size and "aspect_ratio" in given:
            call.adjusted.append(Adjustment("size", "dropped, as aspect_ratio is given"))
        elif size:
            given["aspect_ratio"] = images.nearest_ratio(size, RATIOS)
            call.adjusted.append(Adjustment("size", f"sent as aspect ratio {given['aspect_ratio']}"))

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        """Where its filter took the picture out, the answer holds only the reasons."""
        content = mapping(wire.decode(wire.ANY, body, secrets))
        found, reasons = content.get("images"), content.get("finish_reasons")
        words = [word for word in reasons if isinstance(word, str) and word] if isinstance(reasons, list) else []
        if any(map(FILTERED.search, words)):
            raise filtered(words[0], secrets)
        if words:
            raise ended(ServerFailed, words[0][:200])
        if not isinstance(found, list) or not found or not all(isinstance(one, str) and one for one in found):
            raise refusal_in(content, body, secrets)
        return images.reply_of([Picture(one) for one in found])
