"""Limits on pages of other subjects."""

from collections.abc import Iterable

from django import template

from access.models import User
from connections.models import Model
from gateway.limits.shown import Shown, applying

register = template.Library()


@register.simple_tag
def limits_on(models: Iterable[Model], user: User) -> list[Shown]:
    """What this user's calls to these models have to pass."""
    return applying(user.principal, models, filled=False)
