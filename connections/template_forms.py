"""The form in which an admin writes a query template, with its samples beside it."""

import json
from collections.abc import Mapping
from typing import Any, get_args

import pydantic
from django import forms
from django.http import QueryDict

from connections.providers.prompt_table import Name
from connections.providers.query_template import STORED, Outcome, QueryTemplate
from connections.providers.query_template_samples import MAX_SAMPLES
from connections.providers.query_template_tree import parsed

STARTER: Mapping[str, Any] = {
    "request": {"inputs": {"$": "prompt"}, "parameters": {"max_new_tokens": {"$": "max_tokens", "default": 256}}},
    "answer": {"text": "[0].generated_text"},
}
"""What a page without a template begins with."""
SAMPLE_CALL = {"messages": [{"role": "user", "content": 'Say "hello" in {{three}} words.'}], "max_tokens": 100}
KINDS = [("request", "Request"), ("answer", "Answer"), ("stream", "Stream"), ("error", "Error")]
FRAMINGS = [
    ("sse", "Server-sent events"),
    ("lines", "One JSON text per line"),
    ("whole", "One whole answer in pieces"),
]
READ = ("text", "finish", "prompt_tokens", "completion_tokens")
"""Paths that answers and streams both have."""
OF_ANSWER, OF_STREAM = (*READ, "vectors"), (*READ, "framing", "cumulative", "end")


class JSONText(forms.CharField):
    """JSON that is typed as text."""

    def __init__(self, **options: Any) -> None:
        rows = options.pop("rows", 4)
        attrs = {"rows": rows, "data-grow": rows, "data-json": "", "spellcheck": "false", "autocapitalize": "off"}
        super().__init__(widget=forms.Textarea(attrs), strip=False, **options)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        return self.read(text) if text else text

    def read(self, text: str) -> Any:
        try:
            return parsed(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else json.dumps(value, indent=2, ensure_ascii=False)


class JSONOrText(JSONText):
    """An object or a list if it reads as one, otherwise the text as it is typed."""

    def read(self, text: str) -> Any:
        try:
            value = parsed(text)
        except ValueError:
            return text
        return value if isinstance(value, dict | list) else text


def _path(label: str, example: str = "", help_text: str = "") -> forms.CharField:
    attrs = {"spellcheck": "false", "autocapitalize": "off", "placeholder": example}
    return forms.CharField(label=label, required=False, help_text=help_text, widget=forms.TextInput(attrs))


class SampleForm(forms.Form):
    """One sample. One that is left blank is none."""

    name = forms.CharField(label="Name", max_length=80, required=False)
    kind = forms.ChoiceField(label="Kind", choices=KINDS)
    given = JSONOrText(label="Given", required=False, rows=3)
    expected = JSONOrText(label="Expected", required=False, rows=3)
    remove = forms.BooleanField(label="Remove this sample", required=False)

    outcome: Outcome | None = None

    @property
    def counts(self) -> bool:
        """Whether it is a sample: neither blank nor removed."""
        filled = any(self.cleaned_data.get(name) not in (None, "") for name in ("name", "given", "expected"))
        return filled and not self.cleaned_data.get("remove")

    def data_for_template(self) -> dict[str, Any]:
        """As the template holds it; what a stream says stays text, even if it could be read as JSON."""
        given = self["given"].data if self.cleaned_data.get("kind") == "stream" else self.cleaned_data.get("given", "")
        fields = {name: self.cleaned_data.get(name, "") for name in ("name", "kind", "expected")}
        return {**fields, "given": (given or "").replace("\r\n", "\n") if isinstance(given, str | None) else given}


Samples = forms.formset_factory(SampleForm, extra=1, max_num=MAX_SAMPLES, absolute_max=MAX_SAMPLES + 1)


def with_room(data: QueryDict) -> QueryDict:
    """The same input with one more blank sample."""
    count = data.get("samples-TOTAL_FORMS", "")
    if not count.isdecimal() or len(count) > 3 or int(count) > MAX_SAMPLES:
        return data
    wider = data.copy()
    wider["samples-TOTAL_FORMS"] = str(int(count) + 1)
    return wider


class TemplateForm(forms.Form):
    """A valid form has the `template`. Without `proves` its samples may fail: they are only shown."""

    template: QueryTemplate | None = None

    request = JSONText(label="Request", rows=10)
    prompt_style = forms.ChoiceField(
        label="Prompt style", choices=[(name, name) for name in get_args(Name)],
        help_text="How the placeholder prompt writes a conversation down. raw: the texts alone.",
    )  # fmt: skip
    content_type = forms.CharField(label="Content type", max_length=200)
    accept = forms.CharField(label="Accept", max_length=200)
    answer_text = _path("Text", "choices[0].text", "A dot alone is the answer itself.")
    answer_finish = _path("Reason for the end", "choices[0].finish_reason")
    answer_prompt_tokens = _path("Tokens of the prompt", "usage.input")
    answer_completion_tokens = _path("Tokens of the answer", "usage.output")
    answer_vectors = _path("Vectors", "data", "Only for models that embed.")
    error = _path("Error", "error.message", "Where an answer of status 200 says that it is none.")
    streams = forms.BooleanField(label="The endpoint streams", required=False)
    stream_framing = forms.ChoiceField(label="Framing", choices=FRAMINGS)
    stream_text = _path("New text", "token.text")
    stream_cumulative = forms.BooleanField(label="Each event repeats the text so far", required=False)
    stream_finish = _path("Reason for the end", "details.finish_reason")
    stream_end = forms.CharField(
        label="End marker", required=False, max_length=200, strip=False,
        widget=forms.TextInput({"placeholder": "[DONE]", "spellcheck": "false"}),
    )  # fmt: skip
    stream_prompt_tokens = _path("Tokens of the prompt")
    stream_completion_tokens = _path("Tokens of the answer", "details.generated_tokens")
    sample_call = JSONText(
        label="Sample call", rows=5, required=False, help_text="As /v1 takes it. What is sent for it stands below."
    )

    ANSWER = (*(f"answer_{name}" for name in OF_ANSWER), "error")
    STREAM = tuple(f"stream_{name}" for name in ("framing", "text", "finish", "end", *READ[2:], "cumulative"))

    def __init__(
        self, data: QueryDict | None = None, *, stored: Mapping[str, Any] | None = None, proves: bool = True
    ) -> None:
        self.begun = _begun(stored)
        super().__init__(data, initial=_initial(self.begun))
        self.proves = proves
        samples = [sample.model_dump() for sample in self.begun.samples]
        self.samples = Samples(data, initial=samples, prefix="samples")
        if data is None:
            for form, outcome in zip(self.samples, self.begun.outcomes(), strict=False):
                form.outcome = outcome

    @property
    def told(self) -> list[tuple[str, str]]:
        """Everything that is wrong, by label."""
        named = [(str(field.label), " ".join(map(str, field.errors))) for field in self if field.errors]
        return named + [("", str(message)) for message in self.non_field_errors()]

    @property
    def fared(self) -> tuple[int, int]:
        """How many samples pass, and how many fail."""
        problems = [bool(form.outcome.problem) for form in self.samples if form.outcome]
        return problems.count(False), problems.count(True)

    @property
    def answer_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.ANSWER]

    @property
    def stream_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.STREAM]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        sound = self.samples.is_valid()
        if not self.errors and sound:
            self._build(cleaned)
        elif not sound:
            self.add_error(None, "The samples need another look.")
        return cleaned

    def _build(self, cleaned: Mapping[str, Any]) -> None:
        kept = [form for form in self.samples if form.counts]
        try:
            self.template = QueryTemplate.model_validate(self._data(cleaned, kept), context=STORED)
        except pydantic.ValidationError as error:
            self._refuse(error, kept)
            return
        for form, outcome in zip(kept, self.template.outcomes(), strict=True):
            form.outcome = outcome
        failed = [form.outcome.sample.name for form in kept if form.outcome and form.outcome.problem]
        if failed and self.proves:
            self.add_error(None, f"Not saved, as samples fail: {', '.join(failed)}.")

    def _data(self, cleaned: Mapping[str, Any], kept: list[SampleForm]) -> dict[str, Any]:
        names = ("request", "prompt_style", "content_type", "accept", "error")
        return {
            **{name: cleaned[name] for name in names},
            "answer": {name: cleaned[f"answer_{name}"] for name in OF_ANSWER},
            "stream": {name: cleaned[f"stream_{name}"] for name in OF_STREAM} if cleaned["streams"] else None,
            "samples": [form.data_for_template() for form in kept],
        }

    def _refuse(self, error: pydantic.ValidationError, kept: list[SampleForm]) -> None:
        """Put each message beside its field."""
        for problem in error.errors(include_input=False, include_url=False):
            place = problem["loc"]
            sentence = problem["msg"].removeprefix("Value error, ")
            if place[:1] == ("samples",) and len(place) > 1 and isinstance(place[1], int):
                name = str(place[2]) if len(place) > 2 else ""
                kept[place[1]].add_error(name if name in kept[place[1]].fields else None, sentence)
                self.add_error(None, "The samples need another look.")
            else:
                name = "_".join(map(str, place))
                self.add_error(name if name in self.fields else None, sentence)


def _begun(stored: Mapping[str, Any] | None) -> QueryTemplate:
    """The stored template; the starter where there is none, or one that only an older version could read."""
    try:
        return QueryTemplate.model_validate(stored or STARTER, context=STORED)
    except pydantic.ValidationError:
        return QueryTemplate.model_validate(STARTER, context=STORED)


def _initial(template: QueryTemplate) -> dict[str, Any]:
    data = template.model_dump()
    stream = data["stream"] or {}
    return {
        **{name: data[name] for name in ("request", "prompt_style", "content_type", "accept", "error")},
        **{f"answer_{name}": data["answer"][name] for name in OF_ANSWER},
        **{f"stream_{name}": stream[name] for name in OF_STREAM if name in stream},
        "streams": bool(stream),
        "sample_call": SAMPLE_CALL,
    }
