"""What an admin fills in for a connection, declared once by each provider."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from connections.providers.calls import JSON


class ProviderSettings(BaseModel):
    """What an admin fills in. The form, the API's validation and the docs are made from the fields.

    `SecretStr` fields are the secrets: stored encrypted, write-only. `setting(target=True)` marks a field that
    decides where secrets are sent: changing it drops the stored ones.
    """

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True, hide_input_in_errors=True)

    @property
    def uses_host(self) -> bool:
        """Whether calls carry the identity of the machine that we run on, which the connection's page says."""
        return False

    @classmethod
    def secret_names(cls) -> list[str]:
        return [name for name, info in cls.model_fields.items() if _mentions_secret(info.annotation)]

    @classmethod
    def multiline_names(cls) -> list[str]:
        """The secrets that may have line breaks, such as keys in PEM or JSON."""
        extras = {name: info.json_schema_extra for name, info in cls.model_fields.items()}
        return [name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("multiline")]

    @classmethod
    def lender_kinds(cls) -> dict[str, str]:
        """The settings that point to another connection, with the kind that it must have."""
        extras = {name: info.json_schema_extra for name, info in cls.model_fields.items()}
        kinds = {name: extra.get("connection") for name, extra in extras.items() if isinstance(extra, dict)}
        return {name: str(kind) for name, kind in kinds.items() if kind}

    @classmethod
    def target_names(cls) -> list[str]:
        return [
            name
            for name, info in cls.model_fields.items()
            if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("target")
        ]


STORED: Mapping[str, bool] = {"stored": True}
"""The context in which stored values are read: what was proven when they were saved is not proven again."""


class ModelOptions(BaseModel):
    """What an admin may set for one model beyond what every model has. The form is made from the fields."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True, hide_input_in_errors=True)

    @classmethod
    def stored(cls, options: Mapping[str, Any]) -> Self:
        """These as they were stored, perhaps by an older version: what cannot be read counts as not set."""
        try:
            return cls.model_validate(options, context=STORED)
        except ValidationError as error:
            wrong = {problem["loc"][0] for problem in error.errors(include_input=False) if problem["loc"]}
            kept = {name: value for name, value in options.items() if name not in wrong}
            return cls.model_validate(kept, context=STORED)


def _mentions_secret(annotation: Any) -> bool:
    arguments: tuple[Any, ...] = getattr(annotation, "__args__", ())
    return annotation is SecretStr or any(_mentions_secret(argument) for argument in arguments)


def setting(
    title: str,
    *,
    default: Any = ...,
    help: str = "",
    advanced: bool = False,
    target: bool = False,
    placeholder: str = "",
    connection: str = "",
    multiline: bool = False,
    listed: str = "",
    **constraints: Any,
) -> Any:
    """A field of a provider's Settings or ModelOptions. `advanced` folds it away in the form.

    `connection`: the value is the id of another connection, of this kind, that lends what it holds.
    `multiline`: the value has line breaks; of the secrets, only those marked so may have any.
    `listed`: the value is one of those that the deployment lists, as `deployed` names them.
    """
    extra: JSON = {
        "advanced": advanced,
        "target": target,
        "placeholder": placeholder,
        "connection": connection,
        "multiline": multiline,
        "listed": listed,
    }
    return Field(default, title=title, description=help, json_schema_extra=extra, **constraints)
