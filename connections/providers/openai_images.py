"""What OpenAI's models for pictures take: each generation has its own sizes, qualities and names."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import structs

from connections.providers import images, wire
from connections.providers.calls import JSON, Adjustment, Call
from connections.providers.parameters import ParameterTable, Rule

RATIO = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})")
WIDE = ("1024x1024", "1536x1024", "1024x1536")


@dataclass(frozen=True, slots=True)
class PictureModel:
    """One generation."""

    table: ParameterTable
    choices: int
    """The most pictures of one request."""
    sizes: Sequence[str]
    """What it draws; with `free` only what an aspect ratio becomes."""
    free: bool = False
    """Takes any size."""
    qualities: Mapping[str, str] = field(default_factory=dict)
    """What other generations call its qualities."""
    classes: bool = False
    """Whether a picture's price depends on its quality and size."""

    def fitted(self, call: Call, body: JSON) -> JSON:
        """The body with size and quality as this generation knows them; each change is reported."""
        self._fit_ratio(call, body)
        self._fit_size(call, body)
        quality = wire.plain(body.get("quality"))
        if quality in self.qualities:
            body["quality"] = self.qualities[quality]
            call.adjusted.append(Adjustment("quality", f"set to {body['quality']}"))
        return body

    def price_class(self, call: Call) -> str:
        """What the price of one picture of this call depends on."""
        if not self.classes:
            return ""
        silent = structs.replace(call, adjusted=[])
        body = self.fitted(silent, self.table.apply(silent))
        quality, size = (wire.plain(body.get(name)) for name in ("quality", "size"))
        return f"{quality or 'standard'} {size or '1024x1024'}"

    def _fit_ratio(self, call: Call, body: JSON) -> None:
        ratio = wire.plain(body.pop("aspect_ratio", None))
        if ratio is None:
            return
        found = RATIO.fullmatch(str(ratio))
        if found is None or "size" in body:
            call.adjusted.append(Adjustment("aspect_ratio", "dropped"))
            return
        body["size"] = _nearest((int(found[1]) * 1000, int(found[2]) * 1000), self.sizes)
        call.adjusted.append(Adjustment("aspect_ratio", f"sent as size {body['size']}"))

    def _fit_size(self, call: Call, body: JSON) -> None:
        size = wire.plain(body.get("size"))
        if size is None or self.free or size in self.sizes:
            return
        asked = images.size_of(size)
        if asked is None or not all(asked):
            if size != "auto" or not self.table.takes("background"):  # only newer ones choose by themselves
                del body["size"]
                call.adjusted.append(Adjustment("size", "dropped"))
            return
        body["size"] = _nearest(asked, self.sizes)
        call.adjusted.append(Adjustment("size", f"set to {body['size']}"))


def _nearest(asked: tuple[int, int], sizes: Sequence[str]) -> str:
    """By shape first, then by area."""

    def distance(name: str) -> tuple[float, int]:
        width, height = images.size_of(name) or (1, 1)
        shape = abs(math.log(width / height) - math.log(asked[0] / asked[1]))
        return shape, abs(width * height - asked[0] * asked[1])

    return min(sizes, key=distance)


NEWER = ("n", "size", "aspect_ratio", "quality", "background", "moderation", "output_format", "output_compression")
DALL_E_2 = PictureModel(
    ParameterTable.of("n", "size", "aspect_ratio", "response_format", "user"),
    choices=10,
    sizes=("256x256", "512x512", "1024x1024"),
    classes=True,
)
DALL_E_3 = PictureModel(
    ParameterTable.of("size", "aspect_ratio", "quality", "style", "response_format", "user", n=Rule(maximum=1)),
    choices=1,
    sizes=("1024x1024", "1792x1024", "1024x1792"),
    qualities={"low": "standard", "medium": "standard", "auto": "standard", "high": "hd"},
    classes=True,
)
GPT_IMAGE_1 = PictureModel(
    ParameterTable.of(*NEWER, "user"), choices=10, sizes=WIDE, qualities={"standard": "medium", "hd": "high"}
)
GPT_IMAGE = PictureModel(
    ParameterTable.of(*NEWER, "user"), choices=10, sizes=WIDE, free=True, qualities={"standard": "medium", "hd": "high"}
)


def picture_model(name: str) -> PictureModel:
    """By the model's id; an unknown one is taken for one of the newest."""
    if "dall-e" in name:
        return DALL_E_2 if "dall-e-2" in name else DALL_E_3
    return GPT_IMAGE_1 if "gpt-image-1" in name else GPT_IMAGE
