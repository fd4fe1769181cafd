"""Form fields: for secrets, lists and mappings, and the one that fits a field of a provider's Settings."""

import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from django import forms
from django.core.exceptions import ValidationError
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from connections.models import Connection
from connections.providers.deployed import deployed

KEPT = "•••• kept"
YES = "True"
YES_OR_NO = [("", "–"), (YES, "Yes"), ("False", "No")]


class SecretInput(forms.PasswordInput):
    """Shows no value, not even its own input again."""

    template_name = "connections/_secret_input.html"

    def __init__(self, stored: bool) -> None:
        attrs = {"autocomplete": "off", "spellcheck": "false", "data-1p-ignore": "", "data-lpignore": "true"}
        super().__init__({**attrs, **({"placeholder": KEPT} if stored else {})}, render_value=False)


class SecretLines(forms.Textarea):
    """Shows no value, not even its own input again."""

    def __init__(self, stored: bool, placeholder: str = "Name: value") -> None:
        attrs = {"rows": "3", "autocomplete": "off", "spellcheck": "false"}
        super().__init__({**attrs, "placeholder": KEPT if stored else placeholder})

    def format_value(self, value: Any) -> str:
        return ""


class LinesField(forms.CharField):
    """A list of texts, one per line."""

    widget = forms.Textarea(attrs={"rows": "3"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        return [line.strip() for line in text.splitlines() if line.strip()]


class PairsField(forms.CharField):
    """A mapping, one `Name: value` per line."""

    widget = forms.Textarea(attrs={"rows": "3", "placeholder": "Name: value"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{name}: {text}" for name, text in value.items()) if isinstance(value, Mapping) else value

    def to_python(self, value: Any) -> Any:
        pairs: dict[str, str] = {}
        for line in (super().to_python(value) or "").splitlines():
            name, colon, text = line.partition(":")
            if line.strip() and not colon:
                raise ValidationError("Write each line as Name: value.")
            if line.strip():
                pairs[name.strip()] = text.strip()
        return pairs


def field_for(info: FieldInfo, *, secret: bool, stored: bool) -> forms.Field:
    """The form field for one field of a provider's Settings."""
    kind = _bare(info.annotation)
    common: dict[str, Any] = {
        "label": info.title,
        "help_text": info.description or "",
        "required": info.is_required() and not stored,
    }
    if secret:
        return _secret_field(kind, _extra(info), stored, common)
    common["initial"] = None if info.default is PydanticUndefined else info.default
    if lender := _extra(info).get("connection"):
        return forms.ChoiceField(choices=partial(_lenders, lender), **common)
    if listed := _extra(info).get("listed"):
        return forms.ChoiceField(choices=partial(_listed, listed), **common)
    choices = _choices(kind)
    if choices:
        unset = [] if info.is_required() or info.default is not None else [("", "–")]
        return forms.ChoiceField(choices=[*unset, *choices], **{**common, "required": not unset})
    if kind is bool and info.default is None:
        return forms.TypedChoiceField(choices=YES_OR_NO, coerce=YES.__eq__, empty_value=None, **common)
    if kind is bool:
        return forms.BooleanField(**{**common, "required": False})
    if get_origin(kind) is dict and get_args(kind)[1] is not str:
        return forms.JSONField(widget=forms.Textarea(attrs={"rows": "6", "spellcheck": "false"}), **common)
    made = _text_area(common) if _extra(info).get("multiline") else _usual_field(kind)(**common)
    _add_hints(made, info)
    return made


def _text_area(common: dict[str, Any]) -> forms.Field:
    return forms.CharField(widget=forms.Textarea(attrs={"rows": "4"}), **common)


def _usual_field(kind: Any) -> Callable[..., forms.Field]:
    return FIELDS.get(get_origin(kind) or kind, forms.CharField)


FIELDS: dict[Any, Callable[..., forms.Field]] = {
    int: forms.IntegerField,
    float: forms.FloatField,
    list: LinesField,
    tuple: LinesField,
    dict: PairsField,
}


def _secret_field(kind: Any, extra: Mapping[str, Any], stored: bool, common: dict[str, Any]) -> forms.Field:
    if extra.get("multiline"):
        return forms.CharField(widget=SecretLines(stored, str(extra.get("placeholder", ""))), **common)
    if kind is SecretStr:
        return forms.CharField(widget=SecretInput(stored), **common)
    return PairsField(widget=SecretLines(stored), **common)


def _extra(info: FieldInfo) -> Mapping[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _add_hints(made: forms.Field, info: FieldInfo) -> None:
    extra = _extra(info)
    if extra.get("placeholder"):
        made.widget.attrs["placeholder"] = str(extra["placeholder"])
    if extra.get("target"):
        made.widget.attrs.update({"spellcheck": "false", "autocapitalize": "off"})


def _bare(annotation: Any) -> Any:
    """Without `None` and without what `Annotated` adds."""
    if get_origin(annotation) in (Union, types.UnionType):
        return _bare(next(part for part in get_args(annotation) if part is not types.NoneType))
    return _bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _lenders(kind: str) -> list[tuple[str, str]]:
    """The connections of this kind; none is chosen where there is no need."""
    rows = Connection.objects.filter(kind=kind)
    return [("", "–"), *((str(row.pk), f"{row.name} (paused)" if row.paused else row.name) for row in rows)]


def _listed(name: str) -> list[tuple[str, str]]:
    """What the deployment allows."""
    return [(value, value) for value in getattr(deployed, name)]


def _choices(kind: Any) -> list[tuple[str, str]]:
    if get_origin(kind) is Literal:
        values = [str(value) for value in get_args(kind)]
    elif isinstance(kind, type) and issubclass(kind, Enum):
        values = [str(member.value) for member in kind]
    else:
        return []
    return [(value, value or "–") for value in values]
