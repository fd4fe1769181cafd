"""How answers read."""

import json
from typing import Any

from django import template
from django.utils.safestring import SafeString

from playground import render

register = template.Library()


@register.filter
def markdown(text: str) -> SafeString:
    return render.markdown(text)


@register.filter
def plain(text: str) -> SafeString:
    return render.plain(text)


@register.filter
def pretty_json(value: Any) -> SafeString:
    return render.coloured(json.dumps(value, indent=2, ensure_ascii=False), "json")


@register.filter
def nearness(value: float) -> int:
    """A similarity in five steps, for its shade."""
    return max(0, min(5, round(value * 5)))
