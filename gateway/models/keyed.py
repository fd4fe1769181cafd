"""Calls that may be sent again."""

import uuid

from django.db import models


class KeyedCall(models.Model):
    """A call that came with an Idempotency-Key: under way, or answered and kept for whoever sends it again."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key_id = models.CharField(max_length=10)
    """Of the API key."""
    path = models.CharField(max_length=100)
    key = models.CharField(max_length=255)
    """What the caller named the call."""
    digest = models.CharField(max_length=64)
    """Of the body."""
    headers = models.JSONField(null=True)
    """Of the answer; null while the call is under way."""
    body = models.BinaryField(null=True)
    """Of the answer; null when it was too large."""
    expires_at = models.DateTimeField(db_index=True)
    """From then on there is no such row: a kept answer is forgotten, a call whose process died frees its key."""

    class Meta:
        constraints = [models.UniqueConstraint("key_id", "path", "key", name="keyed_call_once")]

    def __str__(self) -> str:
        return self.key
