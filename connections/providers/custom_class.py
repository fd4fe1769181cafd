"""What LangChain's classes and other classes in Python have in common: they are named, and made with arguments."""

from typing import Annotated

from pydantic import AfterValidator

from connections.providers.calls import JSON
from connections.providers.deployed import deployed
from connections.providers.engine_dialect import EngineDialect, ModelId, model_id
from connections.providers.fields import Secret
from connections.providers.settings import ProviderSettings, setting


def _listed(name: str) -> str:
    if name not in deployed.classes:
        listed = ", ".join(deployed.classes) or "none"
        raise ValueError(f"Only classes that the deployment lists in MESH_CUSTOM_CLASSES can run: {listed}.")
    return name


def _named(arguments: dict[str, object]) -> dict[str, object]:
    wrong = next((name for name in arguments if not name.isidentifier()), None)
    if wrong is not None:
        raise ValueError(f"{wrong[:60]!r} is no argument's name.")
    return arguments


ClassName = Annotated[str, AfterValidator(_listed)]
Arguments = Annotated[dict[str, str], AfterValidator(_named)]
SecretArguments = Annotated[dict[str, Secret], AfterValidator(_named)]


class ClassSettings(ProviderSettings):
    """Which class, how it is made, and how its model is called."""

    class_name: ClassName = setting(
        "Class", help="One of those that the deployment lists in MESH_CUSTOM_CLASSES.", target=True, listed="classes"
    )
    arguments: Arguments = setting(
        "Arguments",
        default={},
        help="What the class is made with, one per line. Each is read as its annotation says; lists as JSON.",
        target=True,
    )
    secret_arguments: SecretArguments = setting(
        "Secret arguments", default={}, help="Arguments that must not be shown, such as keys, one per line."
    )
    model_id: ModelId = setting(
        "Model id", default="", help="How the model is called here. Empty: the class's name.", advanced=True
    )
    at_once: int = setting(
        "Requests at once",
        default=1,
        help="So many calls run side by side; leave 1 unless the class is safe for threads.",
        advanced=True,
        ge=1,
        le=256,
    )


class CustomClass(EngineDialect):
    """Subclasses say which program runs the class."""

    settings: ClassSettings

    def told(self) -> JSON:
        return {**super().told(), "model_id": self.model_id}

    @property
    def model_id(self) -> str:
        return self.settings.model_id or model_id(self.settings.class_name.rpartition(":")[2])
