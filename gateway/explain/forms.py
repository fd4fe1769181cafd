"""What people ask about a call that is not made."""

import json
from typing import Any

from django import forms

from access import reach
from access.authentication import narrowed
from access.models import ApiKey, User
from access.principal import Principal
from access.roles import Permission
from connections.providers.calls import JSON, Mode
from gateway.subjects import MOST


class QuestionForm(forms.Form):
    """Who would ask which model for what. Only who manages access asks about others."""

    user = forms.CharField(label="User", max_length=150)
    key = forms.CharField(label="API key", required=False, max_length=10)
    """With its owner's rights, whoever the user is."""
    model = forms.CharField(
        label="Model or route", max_length=300, widget=forms.TextInput(attrs={"list": "names", "autocomplete": "off"})
    )
    prompt = forms.CharField(
        label="Prompt", required=False, max_length=1_000_000, widget=forms.Textarea(attrs={"rows": 3, "data-grow": 3})
    )
    fields_beside = forms.CharField(
        label="Further fields",
        required=False,
        max_length=100_000,
        help_text='As JSON, for instance {"max_tokens": 50}.',
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "class": "form-control mono"}),
    )

    def __init__(self, *args: Any, viewer: User, **options: Any) -> None:
        super().__init__(*args, **options)
        self.viewer = viewer
        self.sees_all = viewer.may(Permission.MANAGE_ACCESS)
        if self.sees_all:
            self.fields["user"].initial = viewer.username
            self._offer("user", list(User.objects.order_by("username").values_list("username", "username")[: MOST + 1]))
        else:
            del self.fields["user"]
        self._offer("key", [("", "None: as in the playground"), *map(_named, self._keys()[: MOST + 1])])

    @property
    def names(self) -> list[str]:
        """The models and routes that are proposed."""
        known = reach.explain(self.viewer.principal)
        return sorted(one.public_id for one in known if one.usable or self.sees_all)

    def clean_fields_beside(self) -> JSON:
        try:
            beside = json.loads(self.cleaned_data["fields_beside"] or "{}")
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from error
        if not isinstance(beside, dict):
            raise forms.ValidationError("Give a JSON object: names with their values.")
        return beside

    def clean(self) -> dict[str, Any]:
        if not self.errors:
            self.cleaned_data["principal"] = self._principal()
        return self.cleaned_data

    def body(self, mode: Mode) -> bytes:
        """As `/v1` takes it."""
        return json.dumps({
            "model": self.cleaned_data["model"],
            **content(mode, self.cleaned_data["prompt"] or "Hello!"),
            **self.cleaned_data["fields_beside"],
        }).encode()  # fmt: skip

    def _keys(self) -> Any:
        return ApiKey.objects.live().visible_to(self.viewer).select_related("owner").order_by("owner__username", "name")

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        """A list, or a field to type into where that would be too long."""
        if len(choices) <= MOST:
            self.fields[name].widget = forms.Select(choices=choices)

    def _principal(self) -> Principal | None:
        if public_id := self.cleaned_data["key"]:
            key = self._keys().filter(public_id=public_id).first()
            if key is None:
                self.add_error("key", "There is no such key, or it is not valid any more.")
                return None
            return narrowed(key.owner.principal, key)
        if not self.sees_all:
            return self.viewer.principal
        user = User.objects.filter(username=self.cleaned_data["user"]).first()
        if user is None:
            self.add_error("user", "There is no such user.")
            return None
        return user.principal


def _named(key: ApiKey) -> tuple[str, str]:
    return key.public_id, f"{key.name} (mesh_{key.public_id}…) of {key.owner.username}"


def content(mode: Mode, text: str) -> JSON:
    """What a call of this mode asks, if `text` is all there is."""
    if mode is Mode.CHAT:
        return {"messages": [{"role": "user", "content": text}]}
    if mode is Mode.EMBEDDING:
        return {"input": text}
    if mode is Mode.RERANK:
        return {"query": text, "documents": [text]}
    return {"prompt": text}
