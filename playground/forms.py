"""What the playground's forms take. The parameters are those that the chosen model takes."""

import base64
import json
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.forms import BoundField
from jsonschema import Draft202012Validator, SchemaError

from access.models import User
from connections.providers.calls import Mode
from connections.providers.parameters import COMMON, Parameter, Rule
from playground import catalogue
from playground.catalogue import Choice

COMPOSER = "composer"
"""Id of the form that every field belongs to, wherever on the page it stands."""
OFFERED = {name: parameter for name, parameter in COMMON.items() if parameter.label and Mode.CHAT in parameter.modes}
MAIN = ("temperature", "max_tokens", "response_format", "schema")
"""The parameters in sight; the others are folded away until they are used."""
EFFORTS = [("", "Default"), *((effort, effort.capitalize()) for effort in ("minimal", "low", "medium", "high"))]
FORMATS = [("", "Text"), ("json_object", "JSON"), ("json_schema", "JSON with a schema")]
PICTURES = {"image/png", "image/jpeg", "image/webp", "image/gif"}
LARGEST_PICTURE = 4 * 2**20


class Lines(forms.CharField):
    """A list of texts, one per line."""

    widget = forms.Textarea(attrs={"rows": 2, "placeholder": "None"})

    def to_python(self, value: Any) -> Any:
        return [line for line in (super().to_python(value) or "").splitlines() if line]

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value


class Schema(forms.CharField):
    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "class": "form-control mono"})

    def to_python(self, value: Any) -> Any:
        """The schema as an object; None when the field was left blank."""
        text = super().to_python(value)
        if not text:
            return None
        try:
            schema = json.loads(text)
            Draft202012Validator.check_schema(schema)
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from error
        except SchemaError as error:
            raise forms.ValidationError(f"This is not a JSON schema: {error.message[:200]}.") from error
        return schema

    def prepare_value(self, value: Any) -> Any:
        return json.dumps(value, indent=2) if isinstance(value, dict) else value


def _number(parameter: Parameter) -> dict[str, Any]:
    return {
        "min_value": parameter.minimum,
        "max_value": parameter.maximum,
        "widget": forms.NumberInput(attrs={"placeholder": "Default"}),
    }


def _field(name: str, parameter: Parameter) -> forms.Field:
    common: dict[str, Any] = {"required": False, "label": parameter.label, "help_text": parameter.help}
    if name == "response_format":
        return forms.ChoiceField(choices=FORMATS, **common)
    if name == "reasoning_effort":
        return forms.ChoiceField(choices=EFFORTS, **common)
    return plain_field(name, parameter)


def plain_field(name: str, parameter: Parameter) -> forms.Field:
    """The field for a parameter of any tab, by its kind alone."""
    common: dict[str, Any] = {"required": False, "label": parameter.label, "help_text": parameter.help}
    if parameter.kind == "number":
        return forms.FloatField(**_number(parameter), **common)
    if parameter.kind == "integer":
        return forms.IntegerField(**_number(parameter), **common)
    if parameter.kind == "string":
        return forms.CharField(max_length=10_000, **common)
    return Lines(**common)


def _add_slider(field: forms.Field, parameter: Parameter, rule: Rule) -> None:
    """Let the browser offer a slider over the range that the provider takes, where it has two ends."""
    low = parameter.minimum if rule.minimum is None else rule.minimum
    high = parameter.maximum if rule.maximum is None else rule.maximum
    if parameter.kind == "number" and low is not None and high is not None:
        field.widget.attrs["data-slider"] = f"{low:g} {high:g}"


class SettingsForm(forms.Form):
    """Model, system prompt and parameters. Blank means: as the provider has it."""

    model = forms.CharField(max_length=300, error_messages={"required": "Pick a model first."})
    system = forms.CharField(
        label="System prompt", required=False, widget=forms.Textarea(attrs={"rows": 3}), max_length=200_000
    )
    stream = forms.BooleanField(
        label="Stream tokens", required=False, initial=True, widget=forms.CheckboxInput(attrs={"role": "switch"})
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.choices = catalogue.choices(user)
        self.choice = self._chosen()
        if self.choice:
            self.fields.update(self._parameter_fields(self.choice))
        for field in self.fields.values():
            field.widget.attrs["form"] = COMPOSER

    def _chosen(self) -> Choice | None:
        """The model asked for; while nobody has asked, the first that can be picked."""
        wanted = self.data.get("model") if self.is_bound else self.initial.get("model")
        named = next((choice for choice in self.choices if choice.value == wanted), None)
        pickable = next((choice for choice in self.choices if not choice.reason), None)
        return named if named or self.is_bound else pickable

    def _parameter_fields(self, choice: Choice) -> dict[str, forms.Field]:
        rules = {name: rule for name in OFFERED if (rule := choice.rule(name)) is not None}
        fields = {name: _field(name, OFFERED[name]) for name in rules}
        for name, field in fields.items():
            _add_slider(field, OFFERED[name], rules[name])
        if "response_format" in fields:
            fields["schema"] = Schema(label="JSON schema", required=False)
        return fields

    @property
    def refused(self) -> list[str]:
        """The parameters that the chosen model does not take."""
        return [name for name in OFFERED if self.choice and not self.choice.takes(name)]

    def main_parameters(self) -> list[BoundField]:
        return [self[name] for name in self.fields if name in MAIN]

    def more_parameters(self) -> list[BoundField]:
        return [self[name] for name in self.fields if name in OFFERED and name not in MAIN]

    def more_in_use(self) -> bool:
        return any(given(field.value()) or field.errors for field in self.more_parameters())

    def clean_model(self) -> str:
        if self.choice is None:
            raise forms.ValidationError("There is no such model. Pick another one.")
        if self.choice.reason:
            raise forms.ValidationError(f"{self.choice.name} cannot be used: {self.choice.reason}. Pick another one.")
        return self.choice.value

    def clean(self) -> None:
        wanted = self.cleaned_data.get("response_format") == "json_schema"
        if wanted and self.cleaned_data.get("schema", ...) is None:
            self.add_error("schema", "Give the schema that the answer must follow.")

    @property
    def kind(self) -> str:
        """The chosen model's provider; empty for a route."""
        return self.choice.kind if self.choice else ""

    @property
    def sees(self) -> bool:
        return self.choice is not None and self.choice.sees

    @property
    def kept(self) -> dict[str, Any]:
        """What the conversation remembers of the settings, beside model and system prompt."""
        names = [name for name in self.fields if name in OFFERED or name in ("schema", "stream")]
        return {name: self.cleaned_data[name] for name in names if given(self.cleaned_data[name])}

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that were filled in, as `/v1/chat/completions` takes them."""
        given = {name: value for name, value in self.kept.items() if name in OFFERED}
        if given.get("response_format") == "json_schema":
            schema = {"name": "answer", "schema": self.cleaned_data["schema"], "strict": True}
            given["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif "response_format" in given:
            given["response_format"] = {"type": given["response_format"]}
        return given


class AskForm(SettingsForm):
    """The settings, and a question."""

    text = forms.CharField(
        label="Your message",
        max_length=1_000_000,
        strip=False,
        error_messages={"required": "Write a message first."},
        widget=forms.Textarea(
            attrs={"rows": 2, "placeholder": "Ask anything… (Ctrl+Enter to send)", "data-grow": "2", "autofocus": True}
        ),
    )
    image = forms.FileField(label="Picture", required=False)
    edit = forms.IntegerField(required=False, widget=forms.HiddenInput)
    """The turn that this one takes the place of."""

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"]
        if not text.strip():
            raise forms.ValidationError("Write a message first.")
        return text

    def clean_image(self) -> str:
        """The picture as a data URL; empty without one."""
        file: UploadedFile[Any] | None = self.cleaned_data["image"]
        if file is None:
            return ""
        if not self.sees:
            raise forms.ValidationError("This model does not take pictures.")
        if file.size is None or file.size > LARGEST_PICTURE:
            raise forms.ValidationError("The picture is larger than 4 MB.")
        content = file.read()
        kind = picture_type(content)
        if kind not in PICTURES:
            raise forms.ValidationError("Only PNG, JPEG, WebP and GIF pictures can be sent.")
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def given(value: Any) -> bool:
    """Whether a field was filled in; a zero was, a blank and a box without its tick were not."""
    return value is not None and value is not False and value != "" and value != []


def picture_type(content: bytes) -> str:
    """By its first bytes; what the browser says of a file is only a guess."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else ""
