"""What each role may do. Which models somebody may use is not a role's matter: see `connections.models.Grant`."""

from django.db import models


class Role(models.TextChoices):
    ADMIN = "admin", "Admin"
    OPERATOR = "operator", "Operator"
    ANALYST = "analyst", "Analyst"
    AUDITOR = "auditor", "Auditor"


class Permission(models.TextChoices):
    USE_MODELS = "use_models", "Ask the models granted to one's groups"
    MANAGE_OWN_KEYS = "manage_own_keys", "Create and revoke one's own API keys"
    VIEW_CONNECTIONS = "view_connections", "See connections, models and their health"
    TEST_CONNECTIONS = "test_connections", "Test, pause and resume connections"
    MANAGE_CONNECTIONS = "manage_connections", "Add, change and delete connections, models and grants"
    MANAGE_ACCESS = "manage_access", "Manage users, groups and everybody's keys"
    VIEW_USAGE = "view_usage", "See everybody's usage and cost"
    VIEW_AUDIT = "view_audit", "Read the audit log"


PERMISSIONS: dict[str, frozenset[Permission]] = {
    Role.ADMIN: frozenset(Permission),
    Role.OPERATOR: frozenset(
        {
            Permission.USE_MODELS,
            Permission.MANAGE_OWN_KEYS,
            Permission.VIEW_CONNECTIONS,
            Permission.TEST_CONNECTIONS,
            Permission.VIEW_USAGE,
        }
    ),
    Role.ANALYST: frozenset({Permission.USE_MODELS, Permission.MANAGE_OWN_KEYS}),
    Role.AUDITOR: frozenset({Permission.VIEW_CONNECTIONS, Permission.VIEW_USAGE, Permission.VIEW_AUDIT}),
}


def roles_that_may(permission: Permission) -> list[str]:
    return [role for role, allowed in PERMISSIONS.items() if permission in allowed]


class Scope(models.TextChoices):
    """What an API key may be used for; never more than its owner may do."""

    GENERATE = "generate", "Ask models through /v1 and /api/generations"
    READ = "read", "Read through /api"
    MANAGE = "manage", "Change things through /api"
