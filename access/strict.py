"""Serializers that refuse what they do not know."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers
from rest_framework.fields import Field

JSON_TYPES: Sequence[tuple[type[Field[Any, Any, Any, Any]], type, str]] = (
    (serializers.BooleanField, bool, "true or false"),
    (serializers.IntegerField, int, "a whole number"),
    (serializers.CharField, str, "a text"),
    (serializers.MultipleChoiceField, list, "a list"),
    (serializers.ChoiceField, str, "a text"),
    (serializers.SlugRelatedField, str, "a text"),
)
"""What a field is in JSON; by themselves they take "yes" for true, "5" for 5 and 5 for a text."""


class StrictSerializer(serializers.Serializer[Any]):
    """A field that does not exist, that callers may only read, or that is of another type, is refused by name."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            writable = {name: field for name, field in self.fields.items() if not field.read_only}
            refused = {name: ["This field is unknown or cannot be set."] for name in data if name not in writable}
            if refused:
                raise serializers.ValidationError(refused, code="unknown_field")
            wanted = {name: _wanted(writable[name], value) for name, value in data.items()}
            if misfits := {name: [f"This must be {kind}."] for name, kind in wanted.items() if kind}:
                raise serializers.ValidationError(misfits)
        return super().to_internal_value(data)


def _wanted(field: Any, value: Any) -> str:
    """What the field takes instead of this value; empty if the value is of its type."""
    if isinstance(field, serializers.ListField | serializers.ManyRelatedField) and value is not None:
        each = field.child if isinstance(field, serializers.ListField) else field.child_relation
        if not isinstance(value, list):
            return "a list"
        return next((f"a list, each of it {said}" for item in value if (said := _wanted(each, item))), "")
    for field_type, json_type, said in JSON_TYPES:
        if isinstance(field, field_type) and value is not None:
            fits = isinstance(value, json_type) and (json_type is bool or not isinstance(value, bool))
            return "" if fits else said
    return ""
