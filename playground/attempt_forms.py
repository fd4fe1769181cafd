"""The forms of the tabs beside the chat. Their parameters are those that the chosen model takes."""

from typing import Any, ClassVar

from django import forms
from django.http import QueryDict

from access.models import User
from connections.providers.calls import JSON, Mode
from connections.providers.parameters import KNOWN, Parameter
from playground import catalogue
from playground.catalogue import Choice
from playground.forms import given, plain_field

SIZES = ("1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792", "512x512", "auto")
HINTS = {
    "size": SIZES,
    "aspect_ratio": ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"),
    "quality": ("auto", "low", "medium", "high", "standard", "hd"),
    "style": ("vivid", "natural"),
    "background": ("auto", "transparent", "opaque"),
    "output_format": ("png", "jpeg", "webp"),
    "input_type": ("query", "document"),
}
"""What is proposed while typing; a provider may take other values too."""
MAIN = ("n", "size", "quality", "style", "dimensions", "input_type", "top_n")
"""The parameters in sight; the others are folded away until they are used."""
MAX_TEXTS, MAX_DOCUMENTS = 32, 200


class Lines(forms.CharField):
    """Texts, one per line."""

    def __init__(self, *, most: int, rows: int, **options: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": rows, "data-grow": rows}), **options)
        self.most = most

    def to_python(self, value: Any) -> Any:
        lines = [line for line in (super().to_python(value) or "").splitlines() if line.strip()]
        if len(lines) > self.most:
            raise forms.ValidationError(f"At most {self.most} lines are taken here; the API takes more.")
        return lines


class AttemptForm(forms.Form):
    """A model of one kind, what is asked of it, and its parameters. Blank means: as the provider has it."""

    mode: ClassVar[Mode]
    content: ClassVar[tuple[str, ...]]
    """The fields that are what is asked."""
    always: ClassVar[JSON] = {}
    """What is asked whatever is filled in."""

    def __init__(self, data: QueryDict | None = None, *, user: User, initial: Any = None) -> None:
        super().__init__(data, initial=initial)
        self.choices = catalogue.choices(user, self.mode)
        self.choice = self._chosen()
        pickable = [(one.value, one.value) for one in self.choices if not one.reason]
        model = forms.ChoiceField(label="Model", choices=pickable, initial=self.choice and self.choice.value)
        model.error_messages |= {"required": "Pick a model first.", "invalid_choice": "There is no such model for you."}
        self.fields = {"model": model, **self.fields}
        for name, parameter in self._offered().items():
            self.fields[name] = plain_field(name, parameter)
            if name in HINTS:
                self.fields[name].widget.attrs |= {"list": f"{name}-known", "autocomplete": "off"}

    def _chosen(self) -> Choice | None:
        wanted = self.data.get("model") if self.is_bound else self.initial.get("model")
        usable = [choice for choice in self.choices if not choice.reason]
        return next((one for one in usable if one.value == wanted), usable[0] if usable else None)

    def _offered(self) -> dict[str, Parameter]:
        if self.choice is None:
            return {}
        return {name: one for name, one in KNOWN[self.mode].items() if one.label and self.choice.takes(name)}

    @property
    def hints(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(name, values) for name, values in HINTS.items() if name in self.fields]

    @property
    def asked(self) -> list[forms.BoundField]:
        return [self[name] for name in self.content]

    @property
    def parameters(self) -> list[forms.BoundField]:
        """Those in sight."""
        return [self[name] for name in self.fields if name in MAIN]

    @property
    def more_parameters(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in (*MAIN, *self.content, "model")]

    @property
    def more_in_use(self) -> bool:
        return any(given(field.value()) or field.errors for field in self.more_parameters)

    @property
    def body(self) -> JSON:
        """As `/v1` takes it."""
        filled = {name: value for name, value in self.cleaned_data.items() if given(value)}
        return {**self.always, **filled}


class ImageForm(AttemptForm):
    mode, content = Mode.IMAGE, ("prompt",)
    always = {"response_format": "b64_json"}
    prompt = forms.CharField(
        label="Prompt",
        max_length=32_000,
        error_messages={"required": "Say what the picture shows."},
        widget=forms.Textarea(attrs={"rows": 3, "data-grow": 3, "placeholder": "A red fish in clear water"}),
    )


class EmbeddingForm(AttemptForm):
    mode, content = Mode.EMBEDDING, ("input",)
    input = Lines(
        label="Texts", most=MAX_TEXTS, rows=5, help_text="One per line.",
        error_messages={"required": "Write at least one text."},
    )  # fmt: skip


class RerankForm(AttemptForm):
    mode, content = Mode.RERANK, ("query", "documents")
    query = forms.CharField(label="Query", max_length=100_000, error_messages={"required": "Write what is looked for."})
    documents = Lines(
        label="Documents", most=MAX_DOCUMENTS, rows=6, help_text="One per line.",
        error_messages={"required": "Write at least one document."},
    )  # fmt: skip
