from django.apps import AppConfig

from access import reach


class ConnectionsConfig(AppConfig):
    name = "connections"

    def ready(self) -> None:
        from connections.reach import explain  # noqa: PLC0415 - models exist only from here on

        reach.explainers.append(explain)
