"""Who: users, their API keys, and the record of administrative acts."""

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import AbstractUser, Group
from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac

from access.principal import Principal
from access.roles import PERMISSIONS, Permission, Role

EVERYONE = "Everyone"
"""The built-in group that every user belongs to without being listed."""


class User(AbstractUser):
    role = models.CharField(max_length=10, choices=Role, default=Role.ANALYST)
    session_epoch = models.PositiveIntegerField(default=0)
    """Part of what a session is checked against: moving it ends all of the user's sessions."""

    def get_session_auth_hash(self) -> str:
        bound = f"{self.session_epoch}|{self.password}"
        return salted_hmac("access.User.session", bound, algorithm="sha256").hexdigest()

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """No older signing keys exist here."""
        return iter(())

    def may(self, permission: Permission | str) -> bool:
        return self.is_active and Permission(permission) in PERMISSIONS.get(self.role, frozenset())

    @property
    def principal(self) -> Principal:
        groups = Group.objects.filter(models.Q(user=self) | models.Q(name=EVERYONE))
        return Principal(
            user_id=self.pk,
            label=self.username,
            role=self.role,
            group_ids=frozenset(groups.values_list("pk", flat=True)),
        )


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def live(self) -> "ApiKeyQuerySet":
        """Keys that are neither revoked nor expired and whose owner is active."""
        now = timezone.now()
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        return self.filter(unexpired, revoked_at=None, owner__is_active=True)

    def visible_to(self, user: User) -> "ApiKeyQuerySet":
        return self.all() if user.may(Permission.MANAGE_ACCESS) else self.filter(owner=user)


class ApiKey(models.Model):
    """A key is stored as its public id and the keyed digest of its secret; see `access.keys`."""

    public_id = models.CharField(max_length=10, unique=True)
    digest = models.CharField(max_length=64)
    name = models.CharField(max_length=80)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    scopes = models.JSONField(default=list)
    allowed_models = models.JSONField(default=list, blank=True)
    """Public model ids; an empty list: whatever the owner may use."""
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.name} (mesh_{self.public_id}…)"

    @property
    def state(self) -> str:
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "active"


def _readable(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_readable(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


class AuditEvent(models.Model):
    """One administrative act. Written only by `access.audit.record`, never changed."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    actor_label = models.CharField(max_length=150)
    action = models.CharField(max_length=60, db_index=True)
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=64)
    object_label = models.CharField(max_length=200)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-pk"]

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """(what, before, after) for everything that had or has a value, as people read it."""
        names = self.before | self.after
        read = {name: (_readable(self.before.get(name)), _readable(self.after.get(name))) for name in names}
        return [(name, *values) for name, values in read.items() if any(values)]


class ConfigurationVersion(models.Model):
    """One row whose number moves with every change that the gateway's snapshot must see."""

    number = models.PositiveBigIntegerField(default=1)
