from django.apps import AppConfig

from access import reach


class GatewayConfig(AppConfig):
    name = "gateway"

    def ready(self) -> None:
        """Offer the apps below what only the ledger can tell and take."""
        from access import departures  # noqa: PLC0415 - models exist only from here on
        from connections import figures, health  # noqa: PLC0415 - models exist only from here on
        from gateway import metering  # noqa: PLC0415 - likewise
        from gateway.budgets import acts as budgets  # noqa: PLC0415 - likewise
        from gateway.budgets.reconcile import check_reserved, check_spent  # noqa: PLC0415 - likewise
        from gateway.ledger import reconcile  # noqa: PLC0415 - likewise
        from gateway.ledger.figures import Ledger  # noqa: PLC0415 - likewise
        from gateway.limits import acts as limits  # noqa: PLC0415 - likewise
        from gateway.routes.reach import explain  # noqa: PLC0415 - likewise

        reach.explainers.append(explain)
        health.meters.append(metering.write_check)
        figures.register(Ledger())
        reconcile.checks += [check_spent, check_reserved]
        departures.followers += [limits.remove_limits_of, budgets.remove_budgets_of]
