"""Forms; the one for a provider's settings is made from the provider's own schema."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django import forms
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.http import QueryDict

from connections.account import Account, SettingsRefused
from connections.fields import KEPT, LinesField, field_for
from connections.models import Connection
from connections.providers.contract import Provider
from connections.services.options import OPTIONS, checked_options, tidy_name

ABOUT_MODELS = ("probe_models", "extra_parameters")
"""What is not asked of a connection without models."""

Settle = Callable[[Mapping[str, Any], Mapping[str, Any]], Account]


class SettingsForm(forms.Form):
    """A provider's settings and secrets. A valid form has the resulting `account`.

    `settle` says what the input amounts to; `stored` names the secrets that blank fields keep.
    """

    account: Account

    def __init__(
        self,
        kind: type[Provider],
        settle: Settle,
        data: QueryDict | None = None,
        *,
        stored: frozenset[str] = frozenset(),
        initial: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data, prefix="settings", initial=initial)
        self.kind = kind
        self.settle = settle
        self.secret_names = frozenset(kind.Settings.secret_names())
        for name, info in kind.Settings.model_fields.items():
            is_stored = name in stored
            self.fields[name] = field_for(info, secret=name in self.secret_names, stored=is_stored)
            if is_stored and not info.is_required():
                label = f"Remove the stored {info.title or name}"
                self.fields[f"remove-{name}"] = forms.BooleanField(label=label, required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                self.account = self.settle(self.typed_settings(), self.typed_secrets())
            except SettingsRefused as refusal:
                self.refuse(refusal)
        return cleaned

    def show_kept(self, names: Iterable[str]) -> None:
        """Say of these secrets that a blank field keeps them."""
        for name in names:
            self.fields[name].required = False
            self.fields[name].widget.attrs["placeholder"] = KEPT

    def refuse(self, refusal: SettingsRefused) -> None:
        """Put each message beside its field; those of fields that the form does not have above all."""
        for name, messages in refusal.message_dict.items():
            self.add_error(name if name in self.fields else None, messages)

    def typed_settings(self) -> dict[str, Any]:
        """The settings filled in; a blank one is left out, so that its default holds."""
        names = [name for name in self.kind.Settings.model_fields if name not in self.secret_names]
        found = {name: self.cleaned_data.get(name) for name in names}
        return {name: value for name, value in found.items() if value not in (None, "", [], {})}

    def typed_secrets(self) -> dict[str, Any]:
        """The secrets typed; None: to be removed."""
        typed = {name: self.cleaned_data.get(name) for name in self.secret_names}
        return {
            name: None if self.cleaned_data.get(f"remove-{name}") and not value else value
            for name, value in typed.items()
        }

    @property
    def basic(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if not self._is_advanced(name)]

    @property
    def advanced(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if self._is_advanced(name)]

    @property
    def advanced_has_errors(self) -> bool:
        return any(field.errors for field in self.advanced)

    def _is_advanced(self, name: str) -> bool:
        extra = self.kind.Settings.model_fields[name.removeprefix("remove-")].json_schema_extra
        return isinstance(extra, dict) and bool(extra.get("advanced"))


class ConnectionForm(forms.Form):
    """What every connection has, whatever its provider. A page about a stored one carries its revision along."""

    name = forms.CharField(label="Connection name", max_length=80)
    check_every = forms.IntegerField(label="Check every (seconds)", initial=60, min_value=10, max_value=86_400)
    slow_after_ms = forms.IntegerField(
        label="Slow from (milliseconds)", initial=2000, min_value=1, max_value=600_000,
        help_text="A check that takes longer shows the connection as slow.",
    )  # fmt: skip
    retries = forms.IntegerField(
        label="Retries", initial=2, min_value=0, max_value=2,
        help_text="How often a call that fails for the moment is made again, before anything of its answer was given.",
    )  # fmt: skip
    probe_models = forms.BooleanField(
        label="Also check each model with one short call", required=False,
        help_text="The provider bills these calls. Without them, checks are free. Pictures are never made.",
    )  # fmt: skip
    ca_certificate = forms.CharField(
        label="Certificate authority (PEM)", required=False, widget=forms.Textarea(attrs={"rows": "3"}),
        help_text="Trusted for this connection beside the public ones.",
    )  # fmt: skip
    extra_parameters = LinesField(
        label="Extra parameters", required=False,
        help_text="Names of request fields beyond the common ones that are passed on, one per line.",
    )  # fmt: skip

    def __init__(
        self,
        data: QueryDict | None = None,
        *,
        connection: Connection | None = None,
        initial: dict[str, Any] | None = None,
        has_models: bool = True,
    ) -> None:
        super().__init__(data, initial=initial)
        self.connection = connection
        self.has_models = has_models
        if connection is not None:
            self.fields["revision"] = forms.IntegerField(widget=forms.HiddenInput)
            self.initial = {name: getattr(connection, name) for name in self.fields}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        try:
            options = {name: cleaned[name] for name in OPTIONS if name in cleaned}
            return cleaned | checked_options(options, self.connection) if not self.errors else cleaned
        except ValidationError as error:
            self.add_error(None, error)
            return cleaned

    def changes(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in OPTIONS}

    def rebase(self, revision: int, message: str) -> None:
        """After a conflict: show the same input, now on top of the newest revision."""
        self.data = {name: self.data[name] for name in self.data} | {"revision": revision}
        self.add_error(None, message)

    @property
    def advanced(self) -> list[forms.BoundField]:
        hidden = {"name"} if self.has_models else {"name", *ABOUT_MODELS}
        return [self[name] for name in OPTIONS if name not in hidden]

    @property
    def advanced_has_errors(self) -> bool:
        return any(field.errors for field in self.advanced)


class GroupsForm(forms.Form):
    groups = forms.ModelMultipleChoiceField(
        Group.objects.order_by("name"), label="Groups", required=False, widget=forms.CheckboxSelectMultiple
    )


class GrantForm(forms.Form):
    group = forms.ModelChoiceField(Group.objects.order_by("name"), empty_label="Choose a group")

    def __init__(self, *args: Any, connection: Connection, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection = connection
        self.fields["model"] = forms.ModelChoiceField(
            connection.models.all(), required=False, empty_label="All models, also future ones"
        )


class DeleteForm(forms.Form):
    confirmation = forms.CharField(label="Type the connection's name to confirm", max_length=200)

    def __init__(self, *args: Any, connection: Connection, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection = connection

    def clean_confirmation(self) -> str:
        if tidy_name(self.cleaned_data["confirmation"]) != self.connection.name:
            raise ValidationError("This is not the connection's name.")
        return self.connection.name
