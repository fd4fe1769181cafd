"""What an admin sets for one model beyond what every model has, as its provider's `ModelOptions` takes it."""

from collections.abc import Mapping
from typing import Any

import pydantic
from django.core.exceptions import ValidationError

from connections.account import messages_of
from connections.addresses import check_url
from connections.providers.contract import Provider
from connections.providers.errors import AddressRefused


class OptionsRefused(ValidationError):
    """Messages by the name of the option they are about."""

    def __init__(self, kind: type[Provider], messages: Mapping[str, str]) -> None:
        super().__init__({name: [message] for name, message in messages.items()})
        self.kind = kind

    @property
    def sentences(self) -> list[str]:
        """The messages for where no field stands beside them."""
        fields = self.kind.ModelOptions.model_fields
        titles = {name: info.title or name for name, info in fields.items()} | {"__all__": ""}
        return [f"{titles.get(name, name)}: {text[0]}".removeprefix(": ") for name, text in self.message_dict.items()]


def checked_model_options(kind: type[Provider], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from their defaults, fit to be stored. Raises OptionsRefused."""
    try:
        options = kind.ModelOptions.model_validate(given)
    except pydantic.ValidationError as error:
        raise OptionsRefused(kind, messages_of(kind, error)) from None
    kept = options.model_dump(mode="json", exclude_defaults=True)
    for name, value in kept.items():
        _check_address(kind, name, value)
    return kept


def _check_address(kind: type[Provider], name: str, value: Any) -> None:
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        try:
            check_url(value)
        except (AddressRefused, ValueError) as error:
            raise OptionsRefused(kind, {name: str(error)}) from None
