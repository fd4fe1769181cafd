"""Forms about models; the one for what only some providers' models have is made from the provider's own schema."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from connections import prices
from connections.fields import LinesField, field_for
from connections.models import MODES
from connections.providers.contract import Provider
from connections.providers.query_template import template_names
from connections.services.model_options import OptionsRefused, checked_model_options
from connections.services.models import ModelChoice, model_problems

CAPABILITIES = {
    "vision": "Takes pictures",
    "tools": "Calls tools",
    "json_schema": "Answers by a JSON schema",
    "reasoning": "Reasons",
    "system": "Takes a system prompt",
    "embedding_dimensions": "Embeds in a chosen number of dimensions",
}


class ModelOptionsForm(forms.Form):
    """What the provider's `ModelOptions` offer. A blank field means its default; a valid form has the `options`.

    Query templates have a page of their own; they stay as they are.
    """

    def __init__(
        self, kind: type[Provider] | None, data: QueryDict | None = None, *, initial: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, prefix="options", initial=dict(initial or {}))
        self.kind = kind
        self.options: dict[str, Any] = {}
        templates = template_names(kind.ModelOptions) if kind else []
        self.templates = {name: self.initial[name] for name in templates if self.initial.get(name)}
        for name, info in (kind.ModelOptions.model_fields if kind else {}).items():
            if name not in templates:
                self.fields[name] = field_for(info, secret=False, stored=False)
                self.fields[name].required = False

    @property
    def template_pages(self) -> list[tuple[str, str, bool]]:
        """Name and title of each option with a page of its own, and whether anything is written there."""
        names = template_names(self.kind.ModelOptions) if self.kind else []
        fields = self.kind.ModelOptions.model_fields if self.kind else {}
        return [(name, fields[name].title or name, name in self.templates) for name in names]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.kind is not None and not self.errors:
            given = {name: value for name, value in cleaned.items() if value not in (None, "", [], {})}
            try:
                self.options = checked_model_options(self.kind, given | self.templates)
            except OptionsRefused as refusal:
                self._refuse(refusal)
        return cleaned

    def _refuse(self, refusal: OptionsRefused) -> None:
        for name, messages in refusal.message_dict.items():
            self.add_error(name if name in self.fields else None, messages)


class OwnModelsForm(forms.Form):
    """Models that no list names: deployments, fine-tuned models, endpoints."""

    upstream_ids = LinesField(label="Model ids", required=False, help_text="As the provider calls them, one per line.")

    def __init__(self, kind: type[Provider] | None, data: QueryDict | None = None, *, initial: Any = None) -> None:
        """`kind`: None where the provider's package is not installed any more."""
        super().__init__(data, initial=initial)
        self.kind = kind
        modes = [choice for choice in MODES if kind is None or choice[0] in kind.modes]
        self.fields["mode"] = forms.ChoiceField(label="Kind", choices=modes)
        self.options = ModelOptionsForm(kind, data, initial=(initial or {}).get("options"))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("upstream_ids") and not self.options.is_valid():
            self.add_error(None, "The settings of these models need another look.")
        if self.kind is None:
            raise forms.ValidationError("The provider of this connection is not installed any more.")
        for choice in self.choices():
            for messages in model_problems(self.kind, choice).values():
                self.add_error("upstream_ids", f"{choice.upstream_id[:60]}: {messages[0]}")
        return cleaned

    def choices(self) -> list[ModelChoice]:
        ids, mode = self.cleaned_data.get("upstream_ids", []), self.cleaned_data.get("mode", "")
        return [ModelChoice(upstream_id, mode, options=self.options.options) for upstream_id in dict.fromkeys(ids)]


class ModelSettingsForm(forms.Form):
    """What an admin may say about one allowed model, whoever provides it."""

    SAID = ("note", "underlying", "context", "max_output", "capabilities")

    note = forms.CharField(
        label="Note for its users", required=False, max_length=200, help_text="Shown where the model is picked."
    )
    underlying = forms.CharField(
        label="Well-known model behind it", required=False, max_length=200,
        help_text="For prices and known limits, where the id is a deployment's or an endpoint's name.",
    )  # fmt: skip
    context = forms.IntegerField(label="Context (tokens)", required=False, min_value=1, max_value=2**31 - 1)
    max_output = forms.IntegerField(label="Max output (tokens)", required=False, min_value=1, max_value=2**31 - 1)
    capabilities = forms.MultipleChoiceField(
        label="What it can do", required=False, choices=CAPABILITIES, widget=forms.CheckboxSelectMultiple
    )

    def changes(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.SAID}


class PriceForm(forms.Form):
    """What a model costs, from when on and until when (UTC)."""

    starts = forms.DateTimeField(
        label="From", required=False, help_text="UTC; empty: from now on.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )  # fmt: skip
    ends = forms.DateTimeField(
        label="Until", required=False, help_text="UTC; empty: until another price follows.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )  # fmt: skip
    note = forms.CharField(
        label="Where it comes from", required=False, max_length=200, help_text="A contract, a price list."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dates = self.fields
        amounts = {
            name: forms.CharField(label=label, required=False, max_length=20) for name, label in prices.NAMES.items()
        }
        self.fields = {**amounts, **dates}

    def amounts(self) -> dict[str, str]:
        return {name: self.cleaned_data[name] for name in prices.NAMES if self.cleaned_data[name]}

    def refuse(self, refusal: ValidationError) -> None:
        """Beside the field where there is one, else above all."""
        for name, messages in refusal.message_dict.items():
            self.add_error(name if name in self.fields else None, messages)
