"""The part of a form that says whom or what a limit or a budget is about."""

from typing import Any

from django import forms

from gateway import subjects
from gateway.models import Extent


class SubjectForm(forms.Form):
    """The subjects follow the scope: htmx asks for them anew, at the page's own address."""

    scope = forms.ChoiceField(
        label="For",
        choices=Extent,
        initial=Extent.EACH_KEY,
        widget=forms.Select(attrs={"hx-get": "", "hx-trigger": "change", "hx-target": "#subject"}),
    )
    subject = forms.CharField(required=False, max_length=300)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sort = subjects.SORTS.get(str(self["scope"].value()))
        if sort is None:
            del self.fields["subject"]
            return
        self.offered = subjects.choices(str(self["scope"].value()))
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
