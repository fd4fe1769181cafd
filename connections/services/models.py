"""Acts on the allowed models of a connection."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from access import audit, departures
from access.models import User
from connections import prices
from connections.account import has_control_characters
from connections.models import Connection, Model, Price
from connections.providers.calls import Mode
from connections.providers.contract import Provider
from connections.services.model_options import OptionsRefused, checked_model_options
from connections.services.options import numbered

MODEL_OPTIONS = ("enabled", "underlying", "note", "context", "max_output", "capabilities", "options")
NAME_ROOM = 220
"""Letters of a model's public name, so that slug and number fit beside it."""
LONGEST = {"upstream_id": 300, "name": NAME_ROOM, "underlying": 200, "note": 200}


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model to allow, as picked from a list or typed."""

    upstream_id: str
    mode: str = Mode.CHAT
    name: str = ""
    """Its name after the slug; empty: made from the upstream id."""
    underlying: str = ""
    note: str = ""
    capabilities: Sequence[str] = ()
    context: int | None = None
    max_output: int | None = None
    price: Mapping[str, str] = field(default_factory=dict)
    """An own price from the beginning; empty: the price table's."""
    enabled: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


@transaction.atomic
def add_models(actor: User, connection: Connection, choices: Iterable[ModelChoice]) -> list[Model]:
    """Allow models that are not allowed yet; those that are stay as they are. What is left open the catalogue says."""
    kind = connection.provider_class
    known = set(connection.models.values_list("upstream_id", "mode"))
    taken = set(Model.objects.filter(public_id__startswith=f"{connection.slug}/").values_list("public_id", flat=True))
    added, own = [], []
    for choice in choices:
        problem = model_problems(kind, choice)
        if problem:
            raise ValidationError(problem)
        if (choice.upstream_id, choice.mode) not in known:
            row = _new_model(connection, _completed(kind, choice), taken)
            known.add((row.upstream_id, row.mode))
            taken.add(row.public_id)
            added.append(row)
            own += [Price(model=row, amounts=dict(choice.price))] if choice.price else []
    Model.objects.bulk_create(added)
    Price.objects.bulk_create(own)
    if added:
        audit.record(actor, "models.added", connection, after={"models": [row.public_id for row in added]})
    return added


def _completed(kind: type[Provider], choice: ModelChoice) -> ModelChoice:
    info = kind.known(choice.underlying or choice.upstream_id, choice.mode)
    return replace(
        choice,
        options=checked_model_options(kind, choice.options),
        capabilities=choice.capabilities or sorted(info.capabilities if info else ()),
        context=choice.context or (info.context if info else None),
        max_output=choice.max_output or (info.max_output if info else None),
    )


def model_problems(kind: type[Provider], choice: ModelChoice) -> dict[str, list[str]]:
    problems: dict[str, list[str]] = {}
    for name in ("upstream_id", "name", "underlying", "note"):
        value = getattr(choice, name)
        if len(value) > LONGEST[name]:
            problems[name] = ["This is too long."]
        elif has_control_characters(value):
            problems[name] = ["The text holds invisible or control characters."]
    if not choice.upstream_id.strip():
        problems["upstream_id"] = ["Give the model's id at the provider."]
    if choice.mode not in set(Mode):
        problems["mode"] = ["There is no such kind of model."]
    elif choice.mode not in kind.modes:
        problems["mode"] = [f"{kind.label} has no models of this kind. It has: {', '.join(sorted(kind.modes))}."]
    if sentences := options_problem(kind, choice.options):
        problems["options"] = sentences
    if problem := price_problem(choice.price):
        problems["price"] = [problem]
    return problems


def price_problem(price: Any) -> str:
    try:
        prices.check_override(price)
    except ValueError as error:
        return str(error)
    return ""


def options_problem(kind: type[Provider], options: Mapping[str, Any]) -> list[str]:
    try:
        checked_model_options(kind, options)
    except OptionsRefused as refusal:
        return refusal.sentences
    return []


def _new_model(connection: Connection, choice: ModelChoice, taken: set[str]) -> Model:
    name = re.sub(r"[^A-Za-z0-9._:/@+-]+", "-", choice.name or choice.upstream_id).strip("-/")[:NAME_ROOM] or "model"
    public_id = f"{connection.slug}/{name}"
    if public_id in taken:
        public_id = numbered(f"{public_id}-{choice.mode}", taken)
    return Model(
        connection=connection,
        public_id=public_id,
        upstream_id=choice.upstream_id,
        mode=choice.mode,
        underlying=choice.underlying,
        note=choice.note,
        capabilities=sorted(choice.capabilities),
        context=choice.context,
        max_output=choice.max_output,
        enabled=choice.enabled,
        options=dict(choice.options),
    )


@transaction.atomic
def update_model(actor: User, model: Model, changes: Mapping[str, Any]) -> Model:
    unknown = set(changes) - set(MODEL_OPTIONS)
    if unknown:
        raise ValidationError({name: ["There is no such option."] for name in unknown})
    row = Model.objects.select_related("connection").get(pk=model.pk)
    changes = {**changes}
    if "options" in changes:
        changes["options"] = _checked(row.connection, changes["options"])
    before = {name: getattr(row, name) for name in changes}
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=list(changes))
    audit.record_change(actor, "model.changed", row, before, {name: getattr(row, name) for name in changes})
    return row


def _checked(connection: Connection, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return checked_model_options(connection.provider_class, options)
    except OptionsRefused as refusal:
        raise ValidationError({"options": refusal.sentences}) from None


@transaction.atomic
def enable_models(actor: User, connection: Connection, models: Iterable[Model], enabled: bool) -> int:
    """Switch many on or off. Returns how many changed."""
    rows = connection.models.filter(pk__in=[model.pk for model in models]).exclude(enabled=enabled)
    names = list(rows.values_list("public_id", flat=True))
    if names:
        rows.update(enabled=enabled)
        audit.record(actor, "models.enabled" if enabled else "models.disabled", connection, after={"models": names})
    return len(names)


@transaction.atomic
def remove_model(actor: User, model: Model) -> None:
    departures.announce(actor, model)
    audit.record(actor, "model.removed", model, before={"upstream_id": model.upstream_id, "mode": model.mode})
    model.delete()
