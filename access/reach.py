"""Which models somebody can use, and why. Grants belong to the app above, which says so here when it starts."""

from collections.abc import Callable
from dataclasses import dataclass

from access.principal import Principal


@dataclass(frozen=True)
class Reached:
    """One model as one principal sees it."""

    public_id: str
    connection: str
    usable: bool
    reason: str


explainers: list[Callable[[Principal], list[Reached]]] = []


def explain(principal: Principal) -> list[Reached]:
    """Every model there is, each with its yes or no."""
    return [model for explainer in explainers for model in explainer(principal)]


def usable(principal: Principal) -> set[str]:
    """The public ids of the models that the principal can use now."""
    return {model.public_id for model in explain(principal) if model.usable}
