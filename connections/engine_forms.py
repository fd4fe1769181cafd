"""A form out of what a running class says that each call may set."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.http import QueryDict

NUMBERS: Mapping[str, type[forms.Field]] = {"integer": forms.IntegerField, "number": forms.FloatField}
BOOLEAN = (("", "–"), ("true", "yes"), ("false", "no"))


class ParametersForm(forms.Form):
    """One field for each parameter; an empty one leaves the class's own default."""

    def __init__(
        self, parameters: Iterable[Mapping[str, Any]], set_so_far: Mapping[str, Any], data: QueryDict | None = None
    ) -> None:
        super().__init__(data, prefix="parameter", initial=dict(set_so_far))
        for one in parameters:
            self.fields[str(one["name"])] = _field(one)

    def values(self) -> dict[str, str]:
        """What is set, as texts: the class's signature coerces them."""
        found = {name: self.cleaned_data[name] for name in self.fields}
        return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _field(one: Mapping[str, Any]) -> forms.Field:
    name, kind, default = str(one["name"]), one.get("kind"), one.get("default")
    common: dict[str, Any] = {"label": name, "required": False, "help_text": _help(str(kind), default)}
    if one.get("choices"):
        return forms.ChoiceField(choices=[("", "–"), *((str(text), str(text)) for text in one["choices"])], **common)
    if kind == "boolean":
        return forms.ChoiceField(choices=BOOLEAN, **common)
    return NUMBERS.get(str(kind), forms.CharField)(**common)


def _help(kind: str, default: Any) -> str:
    form = {"list": "A list as JSON. ", "object": "An object as JSON. "}.get(kind, "")
    return f"{form}Default: {default}." if default not in (None, "") else form.strip()
