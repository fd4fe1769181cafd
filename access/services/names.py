"""When two names are the same name."""

import unicodedata
from collections.abc import Iterable

from django.core.exceptions import ValidationError


def folded(name: str) -> str:
    """Equal for names that differ only in case or in how Unicode spells them."""
    return unicodedata.normalize("NFKC", name).casefold()


def checked(name: str, taken: Iterable[str], *, field: str) -> str:
    """The name as it is stored; refused when it holds control characters or somebody has it already."""
    name = unicodedata.normalize("NFKC", name).strip()
    if not name or any(unicodedata.category(letter) in {"Cc", "Cf", "Cs"} for letter in name):
        raise ValidationError({field: ["Use visible characters only."]})
    if folded(name) in {folded(other) for other in taken}:
        raise ValidationError({field: ["This name is taken already."]})
    return name
