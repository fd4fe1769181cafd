"""What people type into the pages about limits."""

from typing import Any

from django import forms
from django.urls import reverse

from gateway.models import PERIODS, Limit
from gateway.subject_form import SubjectForm

AMOUNT = {"inputmode": "numeric", "min": "1", "step": "1"}


class AmountForm(forms.Form):
    amount = forms.IntegerField(widget=forms.NumberInput(attrs=AMOUNT))


class LimitForm(SubjectForm, AmountForm):
    """A new limit."""

    what = forms.ChoiceField(label="Limit", choices=Limit.What)
    seconds = forms.TypedChoiceField(
        label="Per", choices=list(PERIODS.items()), coerce=int, initial=60, empty_value=None
    )

    field_order = ("scope", "subject", "what", "amount", "seconds")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope"].widget.attrs["hx-get"] = reverse("limit-new")
        self.fields["seconds"].required = self["what"].value() != Limit.What.PARALLEL

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("what") == Limit.What.PARALLEL:
            self.cleaned_data["seconds"] = None
        return self.cleaned_data
