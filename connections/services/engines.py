"""Acts on engines: somebody starts or stops one. Its supervisor does it within a second or two."""

from django.db import transaction
from django.db.models import F

from access import audit
from access.models import User
from connections.models import Connection, Engine


@transaction.atomic
def want_engine(actor: User, connection: Connection, wanted: bool) -> Engine:
    """Ask for a start, which also tries again what was given up, or for a stop."""
    Engine.objects.get_or_create(connection=connection)
    rows = Engine.objects.filter(connection=connection)
    rows.update(wanted=wanted, starts=F("starts") + (1 if wanted else 0))
    audit.record(actor, "engine.started" if wanted else "engine.stopped", connection, configures=False)
    return rows.get()
