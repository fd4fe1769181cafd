"""What people type into the pages about budgets: money in US dollars, times in UTC."""

from decimal import Decimal
from typing import Any

from django import forms
from django.urls import reverse

from access.filters import moment
from connections.fields import LinesField, SecretInput
from connections.models import Model
from gateway.budgets.acts import MAX_REASON
from gateway.budgets.shown import Telling
from gateway.models import Budget, Route
from gateway.subject_form import SubjectForm

NANO = 10**9
AMOUNT = {"inputmode": "decimal", "min": "0", "step": "any"}


class AmountField(forms.DecimalField):
    """US dollars or tokens, as the budget counts."""

    widget = forms.NumberInput(attrs=AMOUNT)

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=19, decimal_places=9, **options)


def stored(what: str, amount: Decimal | None) -> int | None:
    """10⁻⁹ USD, or tokens. Raises ValidationError."""
    if amount is None or what == Budget.What.MONEY:
        return None if amount is None else int(amount * NANO)
    if amount != amount.to_integral_value():
        raise forms.ValidationError("Tokens are whole.")
    return int(amount)


def shown(what: str, amount: int) -> Decimal | int:
    """The opposite of `stored`."""
    if what != Budget.What.MONEY:
        return amount
    dollars = Decimal(amount) / NANO
    return dollars.quantize(Decimal(1)) if dollars == dollars.to_integral_value() else dollars.normalize()


class EndForm(forms.Form):
    """How much, and what happens then."""

    amount = AmountField()
    at_end = forms.ChoiceField(label="At its end", choices=Budget.AtEnd)
    switch_to = forms.CharField(
        label="Ask instead",
        required=False,
        max_length=300,
        widget=forms.TextInput(attrs={"list": "elsewhere", "autocomplete": "off"}),
        help_text="A model or a route. Whoever may not use it is refused.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        models = Model.objects.order_by("public_id").values_list("public_id", flat=True)
        self.elsewhere = [*Route.objects.values_list("name", flat=True), *models[:500]]

    @property
    def what(self) -> str:
        """What the budget counts."""
        return str(self.initial.get("what", ""))

    def clean_amount(self) -> int | None:
        return stored(self.what, self.cleaned_data["amount"])

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("at_end") != Budget.AtEnd.SWITCH:
            self.cleaned_data["switch_to"] = ""
        return self.cleaned_data

    @staticmethod
    def of(budget: Budget) -> dict[str, Any]:
        """What the form shows first."""
        columns = {name: getattr(budget, name) for name in ("what", "at_end", "switch_to")}
        return {**columns, "amount": shown(budget.what, budget.amount)}


class BudgetForm(SubjectForm, EndForm):
    """A new budget."""

    what = forms.ChoiceField(label="Of", choices=[("money", "US dollars"), ("tokens", "Tokens")])  # type: ignore[assignment] # here it is a field
    window = forms.ChoiceField(label="Per", choices=Budget.Window, initial=Budget.Window.MONTH)
    hours = forms.IntegerField(required=False, label="Hours", widget=forms.NumberInput(attrs={"min": "1"}))
    anchor = forms.DateTimeField(required=False, label="One begins at (UTC)", widget=moment())

    field_order = ("scope", "subject", "what", "amount", "window", "hours", "anchor", "at_end", "switch_to")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope"].widget.attrs["hx-get"] = reverse("budget-new")

    def clean_amount(self) -> int | None:
        return stored(self.cleaned_data.get("what", ""), self.cleaned_data["amount"])

    def clean(self) -> dict[str, Any]:
        super().clean()
        if self.cleaned_data.get("window") != Budget.Window.OWN:
            self.cleaned_data |= {"hours": 0, "anchor": None}
        elif not self.cleaned_data.get("hours"):
            self.cleaned_data["hours"] = 0
        return self.cleaned_data


class TellingForm(forms.Form):
    """Who is told, and when."""

    thresholds = forms.CharField(
        required=False, max_length=200, label="At these percents", help_text="Parted by commas, as in 80, 100."
    )
    emails = LinesField(required=False, label="By mail to", help_text="One address per line.")
    url = forms.CharField(
        required=False,
        max_length=2048,
        label="By a message to",
        help_text="An https:// address that gets a signed POST.",
    )
    secret = forms.CharField(
        required=False, max_length=200, label="Secret that signs the messages", widget=SecretInput(stored=False)
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["secret"].widget = SecretInput(stored=bool(self.initial.get("url")))

    def clean_thresholds(self) -> list[int]:
        try:
            return [int(part) for part in self.cleaned_data["thresholds"].split(",") if part.strip()]
        except ValueError:
            raise forms.ValidationError("Write whole numbers, parted by commas.") from None

    @staticmethod
    def of(telling: Telling) -> dict[str, Any]:
        """What the form shows first."""
        percents = ", ".join(map(str, telling.thresholds))
        return {"thresholds": percents, "emails": telling.emails, "url": telling.url}


class OverrideForm(forms.Form):
    """More, for a while."""

    extra = AmountField(required=False, label="This much more", help_text="Empty: no end at all until then.")
    until = forms.DateTimeField(label="Until (UTC)", widget=moment())
    reason = forms.CharField(max_length=MAX_REASON, help_text="Stands in the audit log.")

    def clean_extra(self) -> int | None:
        return stored(str(self.initial.get("what", "")), self.cleaned_data["extra"])
