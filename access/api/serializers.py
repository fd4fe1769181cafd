"""What `/api` shows and takes about users, groups, keys and the audit log."""

from typing import Any

from django.contrib.auth.models import Group
from rest_framework import serializers

from access import services
from access.models import EVERYONE, AuditEvent, User
from access.roles import Role, Scope
from access.strict import StrictSerializer


class GroupsField(serializers.SlugRelatedField[Group]):
    """The names of the groups a user is listed in; Everyone is not listed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(slug_field="name", queryset=Group.objects.exclude(name=EVERYONE), **options)


class UserSerializer(StrictSerializer):
    id = serializers.IntegerField(read_only=True)
    username = serializers.CharField(max_length=150)
    email = serializers.EmailField(required=False, allow_blank=True)
    role = serializers.ChoiceField(choices=Role.choices, required=False)
    groups = GroupsField(many=True, required=False)
    is_active = serializers.BooleanField(read_only=True)
    last_login = serializers.DateTimeField(read_only=True, allow_null=True)
    date_joined = serializers.DateTimeField(read_only=True)


class UserChangeSerializer(UserSerializer):
    username = serializers.CharField(read_only=True)
    is_active = serializers.BooleanField(required=False)

    def update(self, instance: User, validated_data: dict[str, Any]) -> User:
        stored = {
            "email": instance.email,
            "role": instance.role,
            "groups": list(instance.groups.all()),
            "is_active": instance.is_active,
        }
        return services.update_user(self.context["request"].user, instance, **{**stored, **validated_data})


class NewUserSerializer(UserSerializer):
    """The answer that makes a user: the only one with the temporary password."""

    temporary_password = serializers.CharField(read_only=True)


class PasswordSerializer(serializers.Serializer[Any]):
    temporary_password = serializers.CharField()


class GroupSerializer(StrictSerializer):
    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(max_length=80)
    members = serializers.SerializerMethodField()

    def get_members(self, group: Group) -> list[str]:
        """The names of the users listed in it; nobody is listed in Everyone."""
        return sorted(user.username for user in group.user_set.all())

    def create(self, validated_data: dict[str, Any]) -> Group:
        return services.create_group(self.context["request"].user, validated_data["name"])

    def update(self, instance: Group, validated_data: dict[str, Any]) -> Group:
        name = validated_data.get("name", instance.name)
        return services.rename_group(self.context["request"].user, instance, name)


class MemberSerializer(StrictSerializer):
    username = serializers.SlugRelatedField("username", queryset=User.objects.all())


class KeySerializer(StrictSerializer):
    id = serializers.CharField(source="public_id", read_only=True)
    name = serializers.CharField(max_length=80)
    owner = serializers.SlugRelatedField("username", queryset=User.objects.all(), required=False)
    scopes = serializers.MultipleChoiceField(choices=Scope.choices)
    allowed_models = serializers.ListField(child=serializers.CharField(max_length=300), required=False, max_length=1000)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    state = serializers.CharField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    last_used_at = serializers.DateTimeField(read_only=True, allow_null=True)
    revoked_at = serializers.DateTimeField(read_only=True, allow_null=True)


class NewKeySerializer(KeySerializer):
    """The answer that makes a key: the only one with the key itself."""

    key = serializers.CharField(read_only=True)


class AuditSerializer(serializers.ModelSerializer[AuditEvent]):
    class Meta:
        model = AuditEvent
        fields = (
            "id", "at", "actor_label", "action", "object_type", "object_id", "object_label",
            "before", "after", "address", "request_id",
        )  # fmt: skip
        read_only_fields = fields
