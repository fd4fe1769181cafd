"""Which models the picker shows, and why some of them cannot be picked."""

from dataclasses import dataclass

from pydantic import ValidationError

from access.models import User
from connections import secrets
from connections.models import Model, NotLent, State
from connections.providers import emulation
from connections.providers.calls import Mode
from connections.providers.contract import Provider
from connections.providers.parameters import KNOWN, ParameterTable


@dataclass(frozen=True, slots=True)
class Choice:
    model: Model
    reason: str
    """Why it cannot be picked; empty: it can."""

    @property
    def warning(self) -> str:
        """What the last check found wrong. It can be picked all the same: a call tells more than a check."""
        for row in (self.model.connection, self.model):
            if row.state == State.FAILING:
                return f"failing: {row.cause}".removesuffix(": ")
        return ""

    @property
    def name(self) -> str:
        return self.model.public_id.removeprefix(f"{self.model.connection.slug}/")

    @property
    def provider(self) -> type[Provider]:
        return self.model.connection.provider_class

    @property
    def sees(self) -> bool:
        """Whether it takes pictures."""
        return "vision" in self.model.capabilities

    def takes(self, name: str) -> bool:
        """Whether a parameter reaches it; a model for completions that chats knows those of completions only."""
        return name in KNOWN[Mode(self.model.mode)] and self.parameters.takes(name)

    @property
    def parameters(self) -> ParameterTable:
        """What the model takes; the provider's common table while it has no credential that can be read."""
        connection = self.model.connection
        try:
            return connection.provider().parameters_for(self.model.target)
        except (secrets.Unreadable, ValidationError, NotLent):
            return self.provider.parameters


def choices(user: User, mode: Mode = Mode.CHAT) -> list[Choice]:
    """Every model, those that `user` may pick to ask in this mode first, of these the well ones."""
    usable = set(Model.objects.usable_by(user.principal).values_list("pk", flat=True))
    found = Model.objects.select_related("connection").order_by("connection__name", "public_id")
    listed = [Choice(model, _reason(model, mode, granted=model.pk in usable)) for model in found]
    return sorted(listed, key=lambda choice: (bool(choice.reason), bool(choice.warning)))


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
