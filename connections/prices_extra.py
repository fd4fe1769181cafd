"""Prices that the price table lacks: pictures, search units, and models that few sell.

The file beside this module holds them, each with the source and the date that it was read from there.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_suffix(".json")


class Extra(NamedTuple):
    amounts: tuple[tuple[str, str], ...]
    """As in a model's own price, and `image hd 1024x1792` for a class of pictures."""
    source: str
    """Where the price was read, and when."""


def find(provider: str, model: str) -> Extra | None:
    """The price of a provider's model, which may carry a version behind the name: `dall-e-3-1106`."""
    rows = table().get(provider, {})
    fitting = [name for name in rows if model == name or model.startswith((f"{name}-", f"{name}@", f"{name}:"))]
    return rows[max(fitting, key=len)] if fitting else None


@cache
def table() -> Mapping[str, Mapping[str, Extra]]:
    """By provider and model."""
    content = json.loads(FILE.read_text())
    return {provider: dict(_rows(models, content["sources"])) for provider, models in content["prices"].items()}


def _rows(models: Mapping[str, Mapping[str, str]], sources: Mapping[str, str]) -> list[tuple[str, Extra]]:
    return [(model, _extra(dict(price), sources)) for model, price in models.items()]


def _extra(price: dict[str, str], sources: Mapping[str, str]) -> Extra:
    source = sources[price.pop("source")]
    return Extra(tuple(price.items()), source)
