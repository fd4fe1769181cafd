"""What people type into the pages about limits."""

from typing import Any

from django import forms
from django.urls import reverse_lazy

from gateway.limits import subjects
from gateway.models import PERIODS, Limit

AMOUNT = {"inputmode": "numeric", "min": "1", "step": "1"}


class AmountForm(forms.Form):
    amount = forms.IntegerField(widget=forms.NumberInput(attrs=AMOUNT))


class LimitForm(AmountForm):
    """A new limit; its subjects follow the scope."""

    scope = forms.ChoiceField(
        label="For",
        choices=Limit.Scope,
        initial=Limit.Scope.EACH_KEY,
        widget=forms.Select(
            attrs={"hx-get": reverse_lazy("limit-new"), "hx-trigger": "change", "hx-target": "#subject"}
        ),
    )
    subject = forms.CharField(required=False, max_length=300)
    what = forms.ChoiceField(label="Limit", choices=Limit.What)
    seconds = forms.TypedChoiceField(
        label="Per", choices=list(PERIODS.items()), coerce=int, initial=60, empty_value=None
    )

    field_order = ("scope", "subject", "what", "amount", "seconds")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seconds"].required = self["what"].value() != Limit.What.PARALLEL
        scope = str(self["scope"].value())
        sort = subjects.SORTS.get(scope)
        if sort is None:
            del self.fields["subject"]
            return
        self.offered = subjects.choices(scope)
        field = self.fields["subject"]
        field.label, field.required = sort.title, True
        if len(self.offered) > subjects.MOST:
            field.widget = forms.TextInput(attrs={"list": "subjects", "autocomplete": "off"})
        else:
            field.widget = forms.Select(choices=[("", "Choose…"), *self.offered])

    def clean_subject(self) -> str:
        found = subjects.picked(self.cleaned_data["scope"], self.cleaned_data["subject"])
        if found is None:
            raise forms.ValidationError(f"There is no such {subjects.SORTS[self.cleaned_data['scope']].label}.")
        return found

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("what") == Limit.What.PARALLEL:
            self.cleaned_data["seconds"] = None
        return self.cleaned_data
