"""What people type into the pages about access."""

from collections.abc import Callable
from typing import Any, TypeVar

from allauth.account.forms import ChangePasswordForm, LoginForm
from django import forms
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from access import reach
from access.filters import moment
from access.models import EVERYONE, User
from access.roles import Permission, Role, Scope, roles_that_may

Answer = TypeVar("Answer")


def accepted(form: forms.Form, act: Callable[[], Answer]) -> Answer | None:
    """What the service answers to a valid form; None when one of them refuses, with the reasons in the form."""
    if not form.is_valid():
        return None
    try:
        return act()
    except ValidationError as refusal:
        for field, reasons in refusal.error_dict.items():
            form.add_error(field if field in form.fields else None, reasons)
        return None


class PasswordForm(ChangePasswordForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        labels = {"oldpassword": "Current password", "password1": "New password", "password2": "New password again"}
        for name, label in labels.items():
            self.fields[name].label = label
            self.fields[name].widget.attrs.pop("placeholder", None)


class SignInForm(LoginForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "User name or email address"
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)


class AccountForm(forms.Form):
    email = forms.EmailField(label="Email address", required=False)
    role = forms.ChoiceField(choices=Role, initial=Role.ANALYST)
    groups = forms.ModelMultipleChoiceField(
        Group.objects.exclude(name=EVERYONE).order_by("name"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=f"What a group may use is granted on a connection's page. Every user is in {EVERYONE}.",
    )


class NewUserForm(AccountForm):
    username = forms.CharField(label="User name", max_length=150)

    field_order = ("username",)


class UserForm(AccountForm):
    is_active = forms.BooleanField(
        label="May sign in and use API keys", required=False, help_text="Without it, sessions and keys stop at once."
    )

    @staticmethod
    def stored(user: User) -> dict[str, Any]:
        """What the form shows first."""
        groups = user.groups.values_list("pk", flat=True)
        return {"email": user.email, "role": user.role, "is_active": user.is_active, "groups": groups}


class GroupForm(forms.Form):
    name = forms.CharField(max_length=80)


class MemberForm(forms.Form):
    user = forms.ModelChoiceField(
        User.objects.all(),
        label="User name",
        to_field_name="username",
        widget=forms.TextInput(attrs={"list": "usernames", "autocomplete": "off"}),
        error_messages={"invalid_choice": "There is no such user."},
    )


class KeyForm(forms.Form):
    """A new key for `user`, or for somebody else when `user` manages access."""

    name = forms.CharField(max_length=80, help_text="What will use it, for example “billing service”.")
    owner = forms.ModelChoiceField(
        User.objects.none(), empty_label=None, help_text="The key can do at most what its owner can."
    )
    scopes = forms.MultipleChoiceField(
        label="May be used to", choices=Scope, initial=[Scope.GENERATE], widget=forms.CheckboxSelectMultiple
    )
    allowed_models = forms.MultipleChoiceField(
        label="Only for these models",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Nothing ticked: every model that the owner may use, now and later.",
    )
    expires_at = forms.DateTimeField(label="Expires (UTC)", required=False, widget=moment())

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        manages = user.may(Permission.MANAGE_ACCESS)
        owners: Any = self.fields["owner"]
        owners.queryset = _key_owners() if manages else User.objects.filter(pk=user.pk)
        owners.initial = user.pk
        if not manages:
            owners.widget = forms.HiddenInput()
        models: Any = self.fields["allowed_models"]
        reached = reach.explain(user.principal)
        models.choices = [(model.public_id, model.public_id) for model in reached if manages or model.usable]


def _key_owners() -> QuerySet[User]:
    return User.objects.filter(is_active=True, role__in=roles_that_may(Permission.MANAGE_OWN_KEYS)).order_by("username")
