"""What admins type about a route."""

from typing import Any, cast

from django import forms

from connections.models import Model
from gateway.models import Route
from gateway.routes.acts import MOST_PRIORITY, MOST_TARGETS, MOST_WEIGHT, Target, described

SPARE = 3
"""Empty rows for further models."""


class RouteForm(forms.Form):
    name = forms.CharField(label="Name", max_length=80, help_text="What callers send as model, for instance team-chat.")
    strategy = forms.ChoiceField(
        label="Among models of the same priority", choices=Route.Strategy, initial=Route.Strategy.WEIGHT
    )
    on_error = forms.BooleanField(
        label="Ask the next one when a model fails", required=False, initial=True,
        help_text="A timeout, an overload, a refused credential; never a mistake in the request.",
    )  # fmt: skip
    on_context = forms.BooleanField(label="Ask the next one when the prompt is too long", required=False, initial=True)
    on_filter = forms.BooleanField(label="Ask the next one when a content filter refuses", required=False)
    enabled = forms.BooleanField(label="Callers can use this route", required=False, initial=True)


class TargetForm(forms.Form):
    model = forms.ChoiceField(label="Model", required=False)
    priority = forms.IntegerField(label="Priority", initial=1, min_value=1, max_value=MOST_PRIORITY, required=False)
    weight = forms.IntegerField(label="Weight", initial=1, min_value=1, max_value=MOST_WEIGHT, required=False)

    def __init__(self, *args: Any, models: list[str], **options: Any) -> None:
        super().__init__(*args, **options)
        field: Any = self.fields["model"]
        field.choices = [("", "(none)"), *((name, name) for name in models)]


class Targets(forms.BaseFormSet):  # type: ignore[type-arg] # Django's own takes none at run time
    def chosen(self) -> list[Target]:
        """The rows that name a model; one whose numbers are left out has ones."""
        rows = [form.cleaned_data for form in self.forms if form.cleaned_data.get("model")]
        return [{"model": row["model"], "weight": row["weight"] or 1, "priority": row["priority"] or 1} for row in rows]


TargetForms = forms.formset_factory(
    TargetForm, formset=Targets, extra=SPARE, max_num=MOST_TARGETS, validate_max=True, absolute_max=MOST_TARGETS
)


def target_forms(data: Any, route: Route | None) -> Targets:
    models = list(Model.objects.order_by("public_id").values_list("public_id", flat=True))
    initial = described(route)["targets"] if route else []
    return cast(Targets, TargetForms(data, initial=initial, prefix="target", form_kwargs={"models": models}))
