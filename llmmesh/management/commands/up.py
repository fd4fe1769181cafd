"""`manage.py up`: everything on this machine, or one part of it."""

import errno
import os
import resource
import socket
import sys
from contextlib import nullcontext
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from llmmesh import first_run, leftovers, local_connection, preparation, processes
from llmmesh.engines import EngineSupervisor
from llmmesh.files import Held, locked
from llmmesh.supervisor import Child, Supervisor

PARTS = ("gateway", "web", "worker", "beat", "engines")
BACKLOG = 2048
OPEN_FILES = 65_536


class Command(BaseCommand):
    help = "Start LLM Mesh on this machine; Ctrl-C stops it. --only runs one part, for several machines."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--only", choices=PARTS, help="run this part alone; needs REDIS_URL")

    def handle(self, *, only: str | None, **options: Any) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the decrypted credentials
        allow_open_files()
        try:
            with nullcontext() if only else locked(settings.DATA_DIR / "run" / "up.lock"):
                status = run_one(only) if only else run_all()
        except Held:
            raise CommandError(
                f"LLM Mesh already runs on the data folder {settings.DATA_DIR}. Stop it first, "
                "or choose another folder with MESH_DATA_DIR and another port with PORT."
            ) from None
        sys.exit(status)


def allow_open_files() -> None:
    """Each call takes two, of its client and its provider; the usual limit of 1,024 is soon reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_all() -> int:
    """Everything on this machine: prepare what is missing, then keep it running until told to stop."""
    pids_file = settings.DATA_DIR / "run" / "pids.json"
    if ended := leftovers.end(pids_file):
        print(f"Ended {ended} processes that an earlier start had left behind.", flush=True)
    with listen() as listening:
        new = preparation.prepare(lambda text: print(text, flush=True))
        children = all_children(listening)
        connection.close()
        supervisor = Supervisor(children, pids_file)
        supervisor.when_answering(listening.getsockname()[:2], lambda: announce(supervisor, new))
        return supervisor.run()


def all_children(listening: socket.socket) -> list[Child]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    children = []
    if not settings.REDIS_URL:
        path = processes.valkey_socket()
        environment["REDIS_URL"] = f"unix://{path}"
        children.append(processes.valkey(environment, path))
    children += [*processes.web(environment, listening), processes.worker(environment), processes.beat(environment)]
    children.append(processes.engines(environment))
    if settings.LOCAL_MODEL != "off" and (served := local_connection.prepare(settings.LOCAL_MODEL)):
        children.append(processes.model(environment, served))
    return children


def run_one(part: str) -> int:
    """One part, as a container or a service unit runs it."""
    if not settings.REDIS_URL:
        raise CommandError(f"--only {part} needs REDIS_URL: the parts of several machines meet there.")
    preparation.require_prepared()
    connection.close()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if part == "engines":
        return run_engines()
    if part in {"worker", "beat"}:
        return Supervisor([getattr(processes, part)(environment)]).run()
    with listen() as listening:
        return Supervisor(processes.web(environment, listening, plane=part)).run()


def run_engines() -> int:
    """The engines of this machine. Another supervisor on the same data folder would start each of them twice."""
    folder = settings.DATA_DIR / "run"
    with locked(folder / "engines.lock"):
        pids_file = folder / "engines.json"
        leftovers.end(pids_file)
        return EngineSupervisor(pids_file).run()


def listen() -> socket.socket:
    """The web server's socket. The supervisor holds it, so that a restart of a web process refuses nobody."""
    family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
    try:
        listening = socket.create_server((settings.HOST, settings.PORT), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise CommandError(f"Cannot listen on {settings.HOST} port {settings.PORT}: {error.strerror}.") from error
        raise CommandError(
            f"Port {settings.PORT} is taken by another program. Choose another one: PORT={settings.PORT + 1} make run"
        ) from None
    # uvicorn takes an inherited socket for a local one, and so does not ask for this: on connections that are kept,
    # the second part of each answer would wait 40 ms for the client's receipt of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def announce(supervisor: Supervisor, new: bool) -> None:
    supervisor.say(f"LLM Mesh {settings.VERSION} is ready: {settings.BASE_URL}  (Ctrl-C stops it)")
    for line in first_run.hint(new):
        supervisor.say(line)
