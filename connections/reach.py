"""Why somebody can or cannot use each model; `access` asks for its pages about users and keys."""

from collections import defaultdict
from uuid import UUID

from access.models import EVERYONE
from access.principal import Principal
from access.reach import Reached
from access.roles import Permission
from connections.models import Grant, Model


def explain(principal: Principal) -> list[Reached]:
    usable = set(Model.objects.usable_by(principal).values_list("pk", flat=True))
    groups_of: defaultdict[tuple[UUID, UUID | None], set[str]] = defaultdict(set)
    for grant in Grant.objects.filter(group__in=principal.group_ids).select_related("group"):
        groups_of[grant.connection_id, grant.model_id].add(grant.group.name)
    found = []
    for model in Model.objects.select_related("connection"):
        groups = groups_of[model.connection_id, None] | groups_of[model.connection_id, model.pk]
        reason = _reason(model, groups, principal)
        found.append(Reached(model.public_id, model.connection.name, model.pk in usable, reason))
    return found


def _reason(model: Model, groups: set[str], principal: Principal) -> str:
    """The first thing that stands in the way, or what opens it."""
    if not principal.may(Permission.USE_MODELS):
        return "Their role asks no models."
    if not groups:
        return "No group of theirs is granted it."
    if model.connection.paused:
        return "Its connection is paused."
    if not model.enabled:
        return "It is switched off."
    if principal.allowed_models is not None and model.public_id not in principal.allowed_models:
        return "The key is limited to other models."
    return "Granted to everybody." if groups == {EVERYONE} else f"Granted to {', '.join(sorted(groups - {EVERYONE}))}."
