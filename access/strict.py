"""Serializers that refuse what they do not know."""

from typing import Any

from rest_framework import serializers


class StrictSerializer(serializers.Serializer[Any]):
    """A field that does not exist, or that callers may only read, is refused by name instead of ignored."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            refused = {name: ["This field is unknown or cannot be set."] for name in data if name not in writable}
            if refused:
                raise serializers.ValidationError(refused, code="unknown_field")
        return super().to_internal_value(data)
