"""Which routes somebody can use; `access` asks for its pages about users and keys."""

from dataclasses import replace

from django.db.models import QuerySet

from access.principal import Principal
from access.reach import Reached
from connections.models import Model
from gateway.models import Route


def usable_targets(name: str, principal: Principal) -> QuerySet[Model]:
    """The models that this principal may use through the route of this name, by priority.

    A key that is limited to models may name the route instead of each of them.
    """
    limited = principal.allowed_models is not None and name not in principal.allowed_models
    models = Model.objects.usable_by(principal if limited else replace(principal, allowed_models=None))
    return models.filter(route_targets__route__name=name, route_targets__route__enabled=True).order_by(
        "route_targets__priority"
    )


def explain(principal: Principal) -> list[Reached]:
    """A route is usable if one of its models is."""
    return [_reached(route, principal) for route in Route.objects.all()]


def _reached(route: Route, principal: Principal) -> Reached:
    usable = usable_targets(route.name, principal).count()
    return Reached(route.name, "Route", usable > 0, _reason(route, principal, usable))


def _reason(route: Route, principal: Principal, usable: int) -> str:
    if usable:
        return f"{usable} of its {route.targets.count()} models can be used."
    if not route.enabled:
        return "It is switched off."
    if usable_targets(route.name, replace(principal, allowed_models=None)):
        return "The key is limited to other models."
    return "None of its models can be used."
