"""Sign-in and sign-out. A session is valid only for the epoch of its user in which it began."""

from django.db import transaction
from django.db.models import F

from access import audit
from access.models import User


@transaction.atomic
def start_session(user: User) -> None:
    audit.record(user, "session.started", user, configures=False)


@transaction.atomic
def refuse_session(name: str) -> None:
    """Note a failed sign-in, whether or not there is such a user."""
    audit.record(None, "session.refused", actor_label=name[:150] or "unknown", configures=False)


@transaction.atomic
def end_session(user: User) -> None:
    """Sign the user out, on every device."""
    end_all_sessions(user)
    audit.record(user, "session.ended", user, configures=False)


def end_all_sessions(user: User) -> None:
    User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
    user.refresh_from_db(fields=["session_epoch"])
