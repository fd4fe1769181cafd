from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from access import reach
from connections.providers import ambient
from connections.providers.deployed import deployed


class ConnectionsConfig(AppConfig):
    name = "connections"

    def ready(self) -> None:
        _allow_what_is_deployed()
        from connections.reach import explain  # noqa: PLC0415 - models exist only from here on

        reach.explainers.append(explain)


def _allow_what_is_deployed() -> None:
    try:
        ambient.allow(settings.AMBIENT_IDENTITY)
        deployed.allow(settings.MODEL_FOLDERS, settings.CUSTOM_CLASSES)
    except ValueError as error:
        raise ImproperlyConfigured(str(error)) from None
