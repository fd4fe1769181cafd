"""Which models and routes the picker shows, and why some of them cannot be picked."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from django.db.models import Prefetch
from pydantic import ValidationError

from access.models import User
from connections import secrets
from connections.models import Model, NotLent, State
from connections.providers import emulation
from connections.providers.calls import Mode
from connections.providers.contract import Provider
from connections.providers.parameters import KNOWN, ParameterTable, Rule
from gateway.models import Route, RouteTarget


@dataclass(frozen=True)
class Choice:
    """What can be asked: a model, or a route and those of its models that may be asked for this."""

    models: Sequence[Model]
    """Of a route by priority; there is one, unless it cannot be picked."""
    reason: str
    """Why it cannot be picked; empty: it can."""
    route: Route | None = None

    @property
    def value(self) -> str:
        """What callers send as `model`."""
        return self.route.name if self.route else self.models[0].public_id

    @property
    def name(self) -> str:
        model = None if self.route else self.models[0]
        return model.public_id.removeprefix(f"{model.connection.slug}/") if model else self.value

    @property
    def place(self) -> str:
        """The connection behind it, or that there may be several."""
        if self.route is None:
            return str(self.models[0].connection)
        return f"Route over {len(self.models)} model{'' if len(self.models) == 1 else 's'}" if self.models else "Route"

    @property
    def warning(self) -> str:
        """What the last checks found wrong. It can be picked all the same: a call tells more than a check.

        A route warns only when all of its models fail, because it asks those that fail last.
        """
        found = [_warning(model) for model in self.models]
        return found[0] if found and all(found) else ""

    @property
    def note(self) -> str:
        return "" if self.route else self.models[0].note

    @property
    def provider(self) -> type[Provider] | None:
        """Of a model."""
        return None if self.route else self.models[0].connection.provider_class

    @property
    def kind(self) -> str:
        """The kind of a model's connection."""
        return "" if self.route else self.models[0].connection.kind

    @property
    def sees(self) -> bool:
        """Whether it takes pictures, whichever model is asked."""
        return bool(self.models) and all("vision" in model.capabilities for model in self.models)

    def takes(self, name: str) -> bool:
        """Whether a parameter reaches one of the models."""
        return self.rule(name) is not None

    def rule(self, name: str) -> Rule | None:
        """What the first model that takes this parameter makes of it.

        A model for completions that chats knows those of completions only.
        """
        rules = (table.rules.get(name) for mode, table in self._tables if name in KNOWN[mode])
        return next(filter(None, rules), None)

    @cached_property
    def _tables(self) -> list[tuple[Mode, ParameterTable]]:
        return [(Mode(model.mode), _parameters(model)) for model in self.models]


def choices(user: User, mode: Mode = Mode.CHAT) -> list[Choice]:
    """Every model and route, those that `user` may pick to ask in this mode first, of these the well ones."""
    usable = set(Model.objects.usable_by(user.principal).values_list("pk", flat=True))
    found = Model.objects.select_related("connection").order_by("connection__name", "public_id")
    listed = [Choice([model], _reason(model, mode, granted=model.pk in usable)) for model in found]
    listed += _routes(usable, mode)
    return sorted(listed, key=lambda choice: (bool(choice.reason), bool(choice.warning)))


def _routes(usable: Collection[UUID], mode: Mode) -> Iterator[Choice]:
    targets = Prefetch("targets", RouteTarget.objects.select_related("model__connection"))
    for route in Route.objects.prefetch_related(targets):
        granted = [target.model for target in route.targets.all() if target.model_id in usable]
        fitting = [model for model in granted if emulation.answers(mode, Mode(model.mode))]
        if not route.enabled:
            yield Choice([], "switched off", route)
        elif not granted:
            yield Choice([], "none of its models can be used by you", route)
        else:
            yield Choice(fitting, "" if fitting else f"none of its models is for {mode}", route)


def _warning(model: Model) -> str:
    for row in (model.connection, model):
        if row.state == State.FAILING:
            return f"failing: {row.cause}".removesuffix(": ")
    return ""


def _parameters(model: Model) -> ParameterTable:
    """What the model takes; the provider's common table while it has no credential that can be read."""
    try:
        return model.connection.provider().parameters_for(model.target)
    except (secrets.Unreadable, ValidationError, NotLent):
        return model.connection.provider_class.parameters


def _reason(model: Model, mode: Mode, *, granted: bool) -> str:
    connection = model.connection
    if connection.paused:
        return "connection paused"
    if not model.enabled:
        return "switched off"
    if not granted:
        return "not granted to your groups"
    if not emulation.answers(mode, Mode(model.mode)):
        does = "it does not chat" if mode is Mode.CHAT else f"it is not for {mode}"
        return f"{model.get_mode_display().lower()} only, {does}"
    return ""
