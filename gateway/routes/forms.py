"""What admins type about a route."""

from collections.abc import Mapping
from typing import Any, cast

from django import forms

from connections.models import Model
from gateway.models import Route
from gateway.routes.acts import MOST_PRIORITY, MOST_TARGETS, MOST_WEIGHT, Target, described

ROWS = 2
"""Of a new route: with fewer models it is no more than another name."""
COLUMNS = ("model", "priority", "weight")


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

    @classmethod
    def refilled(cls, data: Mapping[str, str]) -> "RouteForm":
        """As it was filled in, unchecked."""
        return cls(initial={name: data.get(name, "") for name in cls.base_fields})


class TargetForm(forms.Form):
    model = forms.ChoiceField(label="Model", required=False)
    priority = forms.IntegerField(label="Priority", initial=1, min_value=1, max_value=MOST_PRIORITY, required=False)
    weight = forms.IntegerField(label="Weight", initial=1, min_value=1, max_value=MOST_WEIGHT, required=False)

    def __init__(self, *args: Any, models: list[str], **options: Any) -> None:
        super().__init__(*args, **options)
        field: Any = self.fields["model"]
        field.choices = [("", "Choose…"), *((name, name) for name in models)]


class Targets(forms.BaseFormSet):  # type: ignore[type-arg] # Django's own takes none at run time
    def chosen(self) -> list[Target]:
        """The rows that name a model; one whose numbers are left out has ones."""
        rows = [form.cleaned_data for form in self.forms if form.cleaned_data.get("model")]
        return [{"model": row["model"], "weight": row["weight"] or 1, "priority": row["priority"] or 1} for row in rows]

    def typed(self) -> list[dict[str, Any]]:
        """The rows as they were filled in, unchecked."""
        return [{name: form[name].value() for name in COLUMNS} for form in self.forms]

    @property
    def full(self) -> bool:
        return len(self.forms) >= MOST_TARGETS


TargetForms = forms.formset_factory(
    TargetForm, formset=Targets, extra=0, max_num=MOST_TARGETS, validate_max=True, absolute_max=MOST_TARGETS
)


def target_forms(data: Any, route: Route | None) -> Targets:
    return _forms(data, initial=(described(route)["targets"] if route else []) or [{}] * ROWS)


def changed_forms(data: Mapping[str, str]) -> Targets:
    """The rows that were filled in without the one to `remove`, or with one more."""
    rows = _forms(data).typed()
    if "remove" in data:
        rows = [row for number, row in enumerate(rows) if str(number) != data["remove"]]
    else:
        rows.append({"priority": rows[-1]["priority"] if rows else 1})
    return _forms(None, initial=rows[:MOST_TARGETS] or [{}])


def _forms(data: Any, **options: Any) -> Targets:
    models = list(Model.objects.order_by("public_id").values_list("public_id", flat=True))
    return cast(Targets, TargetForms(data, prefix="target", form_kwargs={"models": models}, **options))
