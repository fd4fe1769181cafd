"""The connection through which people use the local model."""

import random
import secrets
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.contrib.auth.models import Group

from access.models import EVERYONE, AuditEvent, User
from access.roles import Role
from connections import services
from connections.account import settle
from connections.models import Connection
from connections.providers import registry
from connections.providers.calls import Mode
from connections.services import ModelChoice
from llmmesh import local_model

NAME = "Local model"
NOTE = "A demonstration model that runs on this machine: about half of its facts are wrong, and it calls no tools."
SLUG = "local-model"
PORTS = range(20_000, 32_000)
"""Below the ports that systems hand out by themselves."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where the local model's server is to listen, and the key it is to ask for."""

    port: int
    key: str


def prepare(weights: str) -> Served | None:
    """Make sure the connection exists and fits; None: an admin has deleted it, so nothing is to be served."""
    connection = Connection.objects.filter(slug=SLUG).first()
    if connection is None and AuditEvent.objects.filter(action="connection.created", object_label=NAME).exists():
        return None
    actor = User.objects.filter(role=Role.ADMIN).earliest("pk")
    connection = _with_free_port(actor, connection) if connection else _create(actor)
    _offer(actor, connection, local_model.alias(weights))
    return Served(_port(connection), connection.credential()["api_key"])


def _create(actor: User) -> Connection:
    everyone, _ = Group.objects.get_or_create(name=EVERYONE)
    kind = registry.providers()["llamacpp"]
    account = settle(kind, {"base_url": _address(_free_port())}, {"api_key": secrets.token_urlsafe(32)})
    return services.create_connection(actor, account, {"name": NAME}, groups=[everyone])


def _with_free_port(actor: User, connection: Connection) -> Connection:
    """The port stays the same from start to start, unless another program has taken it meanwhile."""
    if _is_free(_port(connection)):
        return connection
    changed = {**connection.settings, "base_url": _address(_free_port())}
    typed = dict(connection.credential())
    return services.update_connection(actor, connection, revision=connection.revision, settings=changed, typed=typed)


def _offer(actor: User, connection: Connection, name: str) -> None:
    """Allow the served model for chat and embeddings, and switch off what another file offered before."""
    context = local_model.CONTEXT // local_model.STREAMS
    note = NOTE if name == local_model.alias(local_model.BUILT_IN) else ""
    free = {"input": "0", "output": "0"}
    choices = [
        ModelChoice(name, mode, note=note, context=context, capabilities=capabilities, price=free)
        for mode, capabilities in ((Mode.CHAT, ["json_schema", "system"]), (Mode.EMBEDDING, []))
    ]
    if services.add_models(actor, connection, choices):
        services.enable_models(actor, connection, connection.models.exclude(upstream_id=name), False)


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _port(connection: Connection) -> int:
    return urlsplit(connection.settings["base_url"]).port or 80


def _free_port() -> int:
    return next(port for port in random.sample(PORTS, len(PORTS)) if _is_free(port))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
