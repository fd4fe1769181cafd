"""Acts on routes: one transaction each, with its audit row."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypedDict

from django.core.exceptions import ValidationError
from django.db import transaction

from access import audit
from access.models import User
from connections.models import Model
from gateway.models import Route, RouteTarget

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
SWITCHES = ("on_error", "on_context", "on_filter", "enabled")
MOST_TARGETS = 50
MOST_WEIGHT = 1_000
MOST_PRIORITY = 100


class Target(TypedDict):
    model: str
    """Its public id."""
    weight: int
    priority: int


@transaction.atomic
def create_route(actor: User, *, name: str, targets: Sequence[Target], **options: Any) -> Route:
    models = _checked(name, targets, options)
    route = Route.objects.create(name=name, **options)
    _aim(route, targets, models)
    audit.record(actor, "route.created", route, after=described(route))
    return route


@transaction.atomic
def update_route(actor: User, pk: int, **changes: Any) -> Route:
    """Change what is named; `targets` replaces all of them."""
    route = Route.objects.select_for_update().get(pk=pk)
    before = described(route)
    targets = changes.pop("targets", None)
    name = changes.get("name", route.name)
    models = _checked(name, before["targets"] if targets is None else targets, changes, route)
    for field, value in changes.items():
        setattr(route, field, value)
    route.save()
    if targets is not None:
        route.targets.all().delete()
        _aim(route, targets, models)
    audit.record_change(actor, "route.changed", route, before, described(route))
    return route


@transaction.atomic
def delete_route(actor: User, route: Route) -> None:
    audit.record(actor, "route.deleted", route, before=described(route))
    route.delete()


def described(route: Route) -> dict[str, Any]:
    targets = route.targets.select_related("model")
    return {
        "name": route.name,
        "strategy": route.strategy,
        **{switch: getattr(route, switch) for switch in SWITCHES},
        "targets": [{"model": one.model.public_id, "weight": one.weight, "priority": one.priority} for one in targets],
    }


def _aim(route: Route, targets: Sequence[Target], models: dict[str, Model]) -> None:
    RouteTarget.objects.bulk_create(
        RouteTarget(route=route, model=models[one["model"]], weight=one["weight"], priority=one["priority"])
        for one in targets
    )


def _checked(
    name: str, targets: Sequence[Target], options: dict[str, Any], route: Route | None = None
) -> dict[str, Model]:
    """The models of the targets by public id. Raises ValidationError by field."""
    models = Model.objects.in_bulk([one["model"] for one in targets], field_name="public_id")
    problems = {
        "name": _name_problem(name, route),
        "strategy": _strategy_problem(options.get("strategy", Route.Strategy.WEIGHT)),
        "targets": _targets_problem(targets, models),
    }
    if found := {field: [problem] for field, problem in problems.items() if problem}:
        raise ValidationError(found)
    return models


def _name_problem(name: str, route: Route | None) -> str:
    if not NAME.fullmatch(name):
        return "Use up to 80 small letters, digits, dots, hyphens and underscores; begin with a letter or digit."
    if name != (route.name if route else "") and Route.objects.filter(name=name).exists():
        return "Another route has this name."
    return ""


def _strategy_problem(strategy: str) -> str:
    return "" if strategy in Route.Strategy.values else f"Choose one of {', '.join(Route.Strategy.values)}."


def _targets_problem(targets: Sequence[Target], models: dict[str, Model]) -> str:
    counted = Counter(one["model"] for one in targets)
    if not targets:
        return "Name at least one model."
    if len(targets) > MOST_TARGETS:
        return f"A route has at most {MOST_TARGETS} models."
    if unknown := [name for name in counted if name not in models]:
        return f"There is no model {unknown[0][:100]!r}."
    if twice := [name for name, times in counted.items() if times > 1]:
        return f"{twice[0]} is named twice."
    if not all(1 <= one["weight"] <= MOST_WEIGHT for one in targets):
        return f"A weight lies between 1 and {MOST_WEIGHT:,}."
    if not all(1 <= one["priority"] <= MOST_PRIORITY for one in targets):
        return f"A priority lies between 1 and {MOST_PRIORITY}; 1 comes first."
    return ""
