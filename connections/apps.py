from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from access import reach
from connections.providers import ambient


class ConnectionsConfig(AppConfig):
    name = "connections"

    def ready(self) -> None:
        _allow_ambient_identity()
        from connections.reach import explain  # noqa: PLC0415 - models exist only from here on

        reach.explainers.append(explain)


def _allow_ambient_identity() -> None:
    try:
        ambient.allow(settings.AMBIENT_IDENTITY)
    except ValueError as error:
        raise ImproperlyConfigured(str(error)) from None
