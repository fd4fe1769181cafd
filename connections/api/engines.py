"""How the API shows an engine: never where it listens, nor its key."""

from rest_framework import serializers

from connections.models import Engine


class EngineSerializer(serializers.ModelSerializer[Engine]):
    is_watched = serializers.BooleanField(help_text="Whether a process is there that could run it.")

    class Meta:
        model = Engine
        fields = ["wanted", "state", "percent", "reason", "described", "log", "is_watched", "seen_at"]
        read_only_fields = fields


def without_log(engine: Engine) -> Engine:
    """The log may hold what callers said; it is for those who may test connections."""
    engine.log = ""
    return engine
