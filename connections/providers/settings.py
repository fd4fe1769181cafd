"""What an admin fills in for a connection, declared once by each provider."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from connections.providers.calls import JSON


class ProviderSettings(BaseModel):
    """What an admin fills in. The form, the API's validation and the docs are made from the fields.

    `SecretStr` fields are the secrets: stored encrypted, write-only. `setting(target=True)` marks a field that
    decides where secrets are sent: changing it drops the stored ones.
    """

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True, hide_input_in_errors=True)

    @classmethod
    def secret_names(cls) -> list[str]:
        return [name for name, info in cls.model_fields.items() if _mentions_secret(info.annotation)]

    @classmethod
    def target_names(cls) -> list[str]:
        return [
            name
            for name, info in cls.model_fields.items()
            if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("target")
        ]


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
    **constraints: Any,
) -> Any:
    """A field of a provider's Settings. `advanced` folds it away in the form."""
    extra: JSON = {"advanced": advanced, "target": target, "placeholder": placeholder}
    return Field(default, title=title, description=help, json_schema_extra=extra, **constraints)
