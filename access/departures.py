"""What goes along when a key, a group, a model or a connection goes. Apps above register what they hold about it."""

from collections.abc import Callable

from django.db.models import Model

from access.models import User

Follower = Callable[[User, Model], None]
followers: list[Follower] = []


def announce(actor: User, leaving: Model) -> None:
    """Call this in the transaction that deletes or revokes, before it does."""
    for follow in followers:
        follow(actor, leaving)
