"""On whose behalf something happens."""

from dataclasses import dataclass

from access.roles import PERMISSIONS, Permission, Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in user, an API key with its owner's rights cut down to its scopes, or the system itself."""

    user_id: int | None
    label: str
    """What usage and audit rows call it: a user name, or `system:health`."""
    role: str = ""
    group_ids: frozenset[int] = frozenset()
    """Always holds the built-in group Everyone for people and keys."""
    key_id: str = ""
    """The public id of the API key; empty for a session and for the system."""
    scopes: frozenset[str] = frozenset(Scope.values)
    allowed_models: frozenset[str] | None = None
    """Public model ids the key is limited to; None: all that its owner may use."""
    system: bool = False
    """The system principal may reach every model; only health checks and tests use it."""

    def may(self, permission: Permission) -> bool:
        return permission in PERMISSIONS.get(self.role, frozenset())


def system(purpose: str) -> Principal:
    return Principal(user_id=None, label=f"system:{purpose}", system=True)
