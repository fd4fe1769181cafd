"""What an admin fills in about one account: settings and secrets, validated by the provider's own schema.

Two rules live here. A secret left blank keeps what is stored. Changing where secrets are sent (any `target`
setting) drops what is stored, so each stored secret must be typed again in the same act or removed.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pydantic
from django.core.exceptions import ValidationError
from pydantic import SecretStr

from connections.addresses import check_url
from connections.models import NotLent, lent_to
from connections.providers.contract import Provider
from connections.providers.errors import AddressRefused
from connections.providers.settings import ProviderSettings

MAX_SECRET = 64 * 1024
LINE_BREAK = "The value holds a line break or another control character. Copy it again, on one line."
STRANGE_LETTERS = "The value holds a control character. Copy the whole text again."


class SettingsRefused(ValidationError):
    """Messages by the name of the setting or secret they are about."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        super().__init__({name: [message] for name, message in messages.items()})


@dataclass(frozen=True, slots=True)
class Account:
    """Validated settings, fit to be stored, and the secrets that go with them."""

    kind: type[Provider]
    settings: dict[str, Any]
    secrets: dict[str, Any] = field(default_factory=dict, repr=False)
    lent: Mapping[str, Provider] = field(default_factory=dict, repr=False)
    """By other connections that the settings point to."""

    def provider(self) -> Provider:
        return self.kind(self.kind.Settings.model_validate({**self.settings, **self.secrets}), self.lent)


def settle(
    kind: type[Provider],
    settings: Mapping[str, Any],
    typed: Mapping[str, Any],
    *,
    stored: Mapping[str, Any] = MappingProxyType({}),
    sent_to: Mapping[str, Any] | None = None,
) -> Account:
    """The account that results when somebody submits `settings` and types the secrets `typed`.

    A blank secret keeps the `stored` one, None removes it. `sent_to`: the settings that decide where the stored
    ones go so far. Raises SettingsRefused.
    """
    _check_places(kind, settings, typed)
    _check_secrets(kind, typed)
    given = {name: value for name, value in typed.items() if value not in (None, "", {})}
    kept = {name: value for name, value in stored.items() if name not in given and typed.get(name, "") is not None}
    model = _validated(kind, {**settings, **kept, **given})
    public = model.model_dump(mode="json", exclude=set(kind.Settings.secret_names()))
    if sent_to is not None and _target_moved(kind, sent_to, public):
        _demand_again(kind, kept)
    lent = _lent(kind, public)
    public |= {name: str(UUID(public[name])) for name in lent}  # in one spelling
    account = Account(kind, public, _plain_secrets(model), lent)
    check_addresses(account)
    return account


def _check_places(kind: type[Provider], settings: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    secret_names = set(kind.Settings.secret_names())
    misplaced = {name: "This is a secret and belongs among the secrets." for name in settings if name in secret_names}
    misplaced |= {name: f"{kind.label} has no secret of this name." for name in typed if name not in secret_names}
    if misplaced:
        raise SettingsRefused(misplaced)


def _check_secrets(kind: type[Provider], typed: Mapping[str, Any]) -> None:
    refused, of_many_lines = {}, kind.Settings.multiline_names()
    for name, value in typed.items():
        lines = name in of_many_lines
        given = value.values() if isinstance(value, Mapping) else [value]
        texts = [text for text in given if isinstance(text, str)]
        if any(len(text) > MAX_SECRET for text in texts):
            refused[name] = f"A secret may have at most {MAX_SECRET} characters."
        elif any(has_control_characters(_without_breaks(text) if lines else text.strip()) for text in texts):
            refused[name] = STRANGE_LETTERS if lines else LINE_BREAK
    if refused:
        raise SettingsRefused(refused)


def _without_breaks(text: str) -> str:
    return "".join(text.split())


def has_control_characters(text: str) -> bool:
    """Control, format (direction marks, zero-width), surrogate and line-separating characters."""
    return any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for letter in text)


def _validated(kind: type[Provider], values: Mapping[str, Any]) -> ProviderSettings:
    try:
        return kind.Settings.model_validate(values)
    except pydantic.ValidationError as error:
        raise SettingsRefused(messages_of(kind, error)) from None  # the cause would carry the values


def messages_of(kind: type[Provider], error: pydantic.ValidationError) -> dict[str, str]:
    """What is wrong, by the name of the setting."""
    found: dict[str, str] = {}
    for problem in error.errors(include_input=False, include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else "__all__"
        found.setdefault(name, _sentence(kind, problem["type"], problem["msg"]))
    return found


def _sentence(kind: type[Provider], problem: str, message: str) -> str:
    if problem == "missing":
        return "This field is required."
    if problem == "extra_forbidden":
        return f"{kind.label} has no setting of this name."
    text = message.removeprefix("Value error, ").rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _lent(kind: type[Provider], settings: Mapping[str, Any]) -> Mapping[str, Provider]:
    try:
        return lent_to(kind, settings)
    except NotLent as error:
        raise SettingsRefused({error.setting: str(error)}) from None


def _target_moved(kind: type[Provider], before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return any(before.get(name) != after.get(name) for name in kind.Settings.target_names())


def _demand_again(kind: type[Provider], kept: Mapping[str, Any]) -> None:
    if kept:
        raise SettingsRefused(
            {name: f"Type the {title_of(kind, name)} again: the address it is sent to has changed." for name in kept}
        )


def title_of(kind: type[Provider], name: str) -> str:
    return kind.Settings.model_fields[name].title or name


def _plain_secrets(model: ProviderSettings) -> dict[str, Any]:
    values = {name: _plain(getattr(model, name)) for name in type(model).secret_names()}
    return {name: value for name, value in values.items() if value}


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def check_addresses(account: Account) -> None:
    """Refuse an address that calls would be refused anyway: each URL typed, and the one that calls start with."""
    for name, value in account.settings.items():
        if isinstance(value, str) and "://" in value:
            _check_address(name, value)
    if account.kind.engine:
        return  # we choose its address ourselves
    named = [name for name in account.kind.Settings.target_names() if account.settings.get(name)]
    _check_address(named[0] if named else "__all__", account.provider().check().url)


def _check_address(name: str, url: str) -> None:
    try:
        check_url(url)
    except (AddressRefused, ValueError) as error:
        raise SettingsRefused({name: str(error)}) from None
