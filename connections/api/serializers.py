"""What `/api` shows and takes. Secrets only come in."""

from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from rest_framework import serializers
from rest_framework.exceptions import APIException

from access.models import User
from access.requests import KeyRequest
from access.roles import Permission
from access.strict import StrictSerializer
from connections import services
from connections.account import SettingsRefused, settle
from connections.models import MODES, Connection, Grant, HealthCheck, Model, Price
from connections.providers import registry
from connections.services.models import MODEL_OPTIONS
from connections.services.options import OPTIONS


class ConflictError(APIException):
    status_code = 409
    default_code = "conflict"
    default_detail = "The connection has changed since you read it. Read it again and repeat your change."


def refused(error: ValidationError, places: dict[str, str] | None = None) -> serializers.ValidationError:
    """Our refusal as the API's; `places` says under which field a name stands."""
    found: dict[str, Any] = {}
    for name, messages in error.message_dict.items():
        place = (places or {}).get(name)
        found.update({place: {name: messages}} if place else {name: messages})
    return serializers.ValidationError(found)


def refused_settings(error: SettingsRefused, kind: str) -> serializers.ValidationError:
    settings = registry.providers()[kind].Settings
    secret_names = set(settings.secret_names())
    names = set(error.message_dict)
    return refused(error, {name: "secrets" if name in secret_names else "settings" for name in names})


class ActingSerializer(StrictSerializer):
    """Writes through the services, on behalf of the key's owner."""

    @property
    def actor(self) -> User:
        request: KeyRequest = self._context["request"]
        return request.user


class ProviderSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment] # DRF takes fields out of the class
    summary = serializers.CharField()
    docs_url = serializers.CharField()
    group = serializers.CharField()
    retired = serializers.DictField(
        allow_null=True, help_text="Since when its vendor offers it no more, and what instead."
    )
    modes = serializers.ListField(child=serializers.CharField())
    settings_schema = serializers.DictField()
    model_options_schema = serializers.DictField(help_text="Of `options` at `/api/models/`.")
    secrets = serializers.ListField(child=serializers.CharField())
    catalogue = serializers.ListField(child=serializers.DictField())


class ConnectionSerializer(ActingSerializer):
    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=300)
    slug = serializers.CharField(read_only=True)
    kind = serializers.ChoiceField(choices=registry.choices())
    settings = serializers.DictField(default=dict)
    secrets = serializers.DictField(write_only=True, default=dict)
    secrets_stored = serializers.SerializerMethodField()
    ca_certificate = serializers.CharField(required=False, allow_blank=True)
    check_every = serializers.IntegerField(required=False)
    probe_models = serializers.BooleanField(required=False)
    slow_after_ms = serializers.IntegerField(required=False)
    extra_parameters = serializers.ListField(child=serializers.CharField(max_length=200), required=False)
    retries = serializers.IntegerField(
        required=False, help_text="How often a call that fails for the moment is made again, 0 to 2."
    )
    paused = serializers.BooleanField(default=False)
    state = serializers.CharField(source="shown_state", read_only=True)
    cause = serializers.CharField(read_only=True)
    evidence = serializers.SerializerMethodField()
    latency_ms = serializers.IntegerField(read_only=True, allow_null=True)
    checked_at = serializers.DateTimeField(read_only=True, allow_null=True)
    revision = serializers.IntegerField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def get_secrets_stored(self, connection: Connection) -> list[str]:
        return sorted(services.stored_secrets(connection))

    def get_evidence(self, connection: Connection) -> str:
        return connection.evidence if sees_evidence(self.actor) else ""

    def create(self, validated: dict[str, Any]) -> Connection:
        kind = registry.providers()[validated["kind"]]
        options = {name: validated[name] for name in OPTIONS if name in validated}
        try:
            account = settle(kind, validated["settings"], validated["secrets"])
            return services.create_connection(self.actor, account, options, paused=validated["paused"])
        except SettingsRefused as error:
            raise refused_settings(error, kind.kind) from None
        except ValidationError as error:
            raise refused(error) from None


class ConnectionChangeSerializer(ConnectionSerializer):
    """A change says on which revision it is based."""

    kind = serializers.CharField(read_only=True)  # type: ignore[assignment] # narrower than in its parent
    paused = serializers.BooleanField(read_only=True)
    revision = serializers.IntegerField(min_value=1)

    def validate(self, attributes: dict[str, Any]) -> dict[str, Any]:
        if "revision" not in attributes:
            raise serializers.ValidationError({"revision": ["Say on which revision your change is based."]})
        return attributes

    def update(self, connection: Connection, validated: dict[str, Any]) -> Connection:
        try:
            return services.update_connection(
                self.actor,
                connection,
                revision=validated["revision"],
                options={name: validated[name] for name in OPTIONS if name in validated},
                settings=validated.get("settings"),
                typed=validated.get("secrets"),
            )
        except services.Conflict:
            raise ConflictError from None
        except services.Unusable as error:
            raise ConflictError(str(error)) from None
        except SettingsRefused as error:
            raise refused_settings(error, connection.kind) from None
        except ValidationError as error:
            raise refused(error) from None


def sees_evidence(user: User) -> bool:
    return user.may(Permission.TEST_CONNECTIONS) or user.may(Permission.MANAGE_CONNECTIONS)


class RotationSerializer(StrictSerializer):
    revision = serializers.IntegerField(min_value=1)
    secrets = serializers.DictField(write_only=True, allow_empty=False)


class StageSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.CharField()
    ms = serializers.IntegerField(allow_null=True)
    detail = serializers.CharField()
    evidence = serializers.CharField()


class TrialSerializer(StrictSerializer):
    """What to test beyond the free stages."""

    model = serializers.CharField(
        default="", allow_blank=True, max_length=300, help_text="Public id of the model to make one short call to."
    )


class ModelInfoSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    mode = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment] # DRF takes fields out of the class
    family = serializers.CharField()
    context = serializers.IntegerField(allow_null=True)  # type: ignore[assignment] # DRF takes fields out of the class
    max_output = serializers.IntegerField(allow_null=True)
    capabilities = serializers.ListField(child=serializers.CharField())
    lifecycle = serializers.CharField()
    ends = serializers.CharField()
    replacement = serializers.CharField()
    underlying = serializers.CharField()


class CheckSerializer(serializers.ModelSerializer[HealthCheck]):
    stages = serializers.SerializerMethodField()

    class Meta:
        model = HealthCheck
        fields = ("id", "at", "model", "state", "total_ms", "stages", "cause")
        read_only_fields = fields

    def get_stages(self, check: HealthCheck) -> list[dict[str, Any]]:
        stages: list[dict[str, Any]] = check.stages
        if sees_evidence(self._context["request"].user):
            return stages
        return [{**stage, "detail": ""} for stage in stages]


class ModelSerializer(ActingSerializer):
    id = serializers.UUIDField(read_only=True)
    public_id = serializers.CharField(read_only=True)
    connection = serializers.PrimaryKeyRelatedField(queryset=Connection.objects.all())
    upstream_id = serializers.CharField(max_length=300)
    mode = serializers.ChoiceField(choices=MODES, default="chat")
    name = serializers.CharField(write_only=True, default="", allow_blank=True, max_length=220)
    underlying = serializers.CharField(default="", allow_blank=True, max_length=200)
    note = serializers.CharField(default="", allow_blank=True, max_length=200)
    capabilities = serializers.ListField(child=serializers.CharField(max_length=40), default=list, max_length=20)
    context = serializers.IntegerField(default=None, allow_null=True, min_value=1, max_value=2**31 - 1)  # type: ignore[assignment] # DRF takes fields out of the class
    max_output = serializers.IntegerField(default=None, allow_null=True, min_value=1, max_value=2**31 - 1)
    price = serializers.DictField(
        child=serializers.CharField(max_length=30),
        default=dict,
        write_only=True,
        help_text="An own price from the beginning; later ones under `/api/prices/`.",
    )
    options = serializers.DictField(default=dict, help_text="As the provider's `model_options_schema` says.")
    enabled = serializers.BooleanField(default=True)
    state = serializers.CharField(read_only=True)
    cause = serializers.CharField(read_only=True)
    latency_ms = serializers.IntegerField(read_only=True, allow_null=True)
    checked_at = serializers.DateTimeField(read_only=True, allow_null=True)
    created_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, instance: Model) -> dict[str, Any]:
        """Options tell how a connection is set up, which not everybody who asks models may see."""
        shown: dict[str, Any] = super().to_representation(instance)
        if not self.actor.may(Permission.VIEW_CONNECTIONS):
            del shown["options"]
        return shown

    def create(self, validated: dict[str, Any]) -> Model:
        connection = validated.pop("connection")
        try:
            added = services.add_models(self.actor, connection, [services.ModelChoice(**validated)])
        except ValidationError as error:
            raise refused(error) from None
        if not added:
            raise serializers.ValidationError({"upstream_id": ["The connection already allows this model."]})
        return added[0]


class ModelChangeSerializer(ModelSerializer):
    connection = serializers.UUIDField(source="connection_id", read_only=True)  # type: ignore[assignment] # narrower than in its parent
    upstream_id = serializers.CharField(read_only=True)
    mode = serializers.CharField(read_only=True)  # type: ignore[assignment] # narrower than in its parent
    name = None  # type: ignore[assignment] # narrower than in its parent
    price = None  # type: ignore[assignment] # has rows of its own

    def update(self, model: Model, validated: dict[str, Any]) -> Model:
        changes = {name: validated[name] for name in MODEL_OPTIONS if name in validated}
        try:
            return services.update_model(self.actor, model, changes)
        except ValidationError as error:
            raise refused(error) from None


class PriceSerializer(ActingSerializer):
    id = serializers.IntegerField(read_only=True)
    model = serializers.PrimaryKeyRelatedField(queryset=Model.objects.all())
    amounts = serializers.DictField(
        child=serializers.CharField(max_length=30),
        help_text="USD as decimal texts: input, output, cache_read and cache_write per million tokens, or image, "
        "search_unit, second and call per piece.",
    )
    starts = serializers.DateTimeField(default=None, allow_null=True, help_text="Null: now.")
    ends = serializers.DateTimeField(default=None, allow_null=True, help_text="Null: until another price follows.")
    note = serializers.CharField(default="", allow_blank=True, max_length=200)
    running = serializers.BooleanField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)

    def create(self, validated: dict[str, Any]) -> Price:
        model, amounts = validated.pop("model"), validated.pop("amounts")
        try:
            return services.set_price(self.actor, model, amounts, **validated)
        except ValidationError as error:
            raise refused(error) from None


class GrantSerializer(ActingSerializer):
    id = serializers.IntegerField(read_only=True)
    group = serializers.PrimaryKeyRelatedField(queryset=Group.objects.all())
    connection = serializers.PrimaryKeyRelatedField(queryset=Connection.objects.all())
    model = serializers.PrimaryKeyRelatedField(queryset=Model.objects.all(), allow_null=True, default=None)
    created_at = serializers.DateTimeField(read_only=True)

    def create(self, validated: dict[str, Any]) -> Grant:
        try:
            return services.grant(self.actor, **validated)
        except ValidationError as error:
            raise refused(error) from None


class ConnectionHealthSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    state = serializers.CharField(source="shown_state")
    cause = serializers.CharField()
    latency_ms = serializers.IntegerField(allow_null=True)
    checked_at = serializers.DateTimeField(allow_null=True)


class HealthSerializer(serializers.Serializer[Any]):
    healthy = serializers.IntegerField()
    active = serializers.IntegerField()
    connections = ConnectionHealthSerializer(many=True)
