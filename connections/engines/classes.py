"""Classes of installed packages, out of those that the deployment lists."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from connections.engines.parameters import Signature
from connections.engines.told import Given, Missing, Refused


def load(given: Given) -> type[Any]:
    """The class that the settings name, if it is listed."""
    name = str(given.settings["class_name"])
    if name not in given.classes:
        raise Missing(f"{name} is not listed here. Add it to MESH_CUSTOM_CLASSES.")
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except ImportError as error:
        raise Missing(f"{module} cannot be imported here: {error}. Install its package where engines run.") from error
    except AttributeError:
        raise Missing(f"{module} has no {attribute}.") from None
    if not isinstance(found, type):
        raise Missing(f"{name} is no class.")
    return found


def arguments(given: Given) -> dict[str, Any]:
    """What the class is made with: the plain arguments and the secret ones."""
    both: Mapping[str, Any] = {**given.settings.get("arguments", {}), **given.secrets.get("secret_arguments", {})}
    return dict(both)


def made(kind: type[Any], given: Given) -> Any:
    """An instance, its arguments coerced by the signature of its `__init__`."""
    try:
        values = Signature.of(kind.__init__).values(arguments(given), f"The class {kind.__name__}")
        return kind(**values)
    except Refused as refusal:
        raise Missing(str(refusal)) from None
    except TypeError as error:
        raise Missing(f"{kind.__name__} cannot be made: {error}."[:280]) from None
