"""Keeps the engines running that connections want, and writes down how each of them fares.

Looks into the database every second, which is where pages say what they want. Each engine is a child like any
other: it is started again when it dies, ever later, and given up when that does not help. A machine claims an
engine before it starts it, so several machines share the work and never run one twice.
"""

import hashlib
import logging
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
from django.conf import settings
from django.db import DatabaseError, close_old_connections, transaction
from django.db.models.functions import Now

from access import audit
from connections import secrets
from connections.engines.told import Given, heard
from connections.models import Connection, Engine, EngineState
from connections.providers import registry
from connections.providers.deployed import deployed
from connections.providers.engine_dialect import EngineDialect
from connections.providers.scrubbing import scrub
from llmmesh import processes
from llmmesh.leftovers import signal_group
from llmmesh.supervisor import Running, Supervisor

LOOK_EVERY = 1.0
SIGN_OF_LIFE_EVERY = 10.0
PATIENCE = 5.0
"""Seconds that an engine may take to stop; it has nothing to save."""
LOG_LINES, LINE = 60, 500
logger = logging.getLogger(__name__)


@dataclass
class Held:
    """One engine of ours."""

    id: UUID
    running: Running
    starts: int
    """How often its start had been asked for."""
    revision: int
    """Of the connection."""
    told: str
    """A digest of what it was told, to see whether an edit concerns it."""
    secrets: list[str] = field(default_factory=list, repr=False)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    kill_at: float | None = None
    """It was told to stop, and is killed then."""
    unsaved: bool = False
    """Whether its log has lines that the database lacks."""


class EngineSupervisor(Supervisor):
    def __init__(self, pids_file: Path | None = None) -> None:
        super().__init__([], pids_file)
        self.owner = f"{socket.gethostname()}:{settings.DATA_DIR}"[:120]
        self.held: dict[UUID, Held] = {}
        self._look_at = self._sign_at = 0.0

    def run(self) -> int:
        try:
            return super().run()
        finally:
            self._guarded(self._release)

    # --- what is wanted ---

    def _start_due(self) -> None:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY
            self._guarded(self._look)
        super()._start_due()

    def _until_next_start(self) -> float | None:
        return min(super()._until_next_start() or LOOK_EVERY, LOOK_EVERY)

    def _guarded(self, work: Callable[[], None]) -> None:
        """A database that is away for a moment must not end the engines."""
        try:
            work()
        except DatabaseError:
            logger.exception("The state of engines could not be read or written; trying again")
        finally:
            close_old_connections()

    def _look(self) -> None:
        _add_missing_rows()
        wanted = {row.pk: row for row in Engine.objects.to_run().select_related("connection")}
        for held in list(self.held.values()):
            row = wanted.get(held.id)
            if row is None or held.kill_at is not None or _is_other(row, held):
                self._end(held)
            else:
                held.revision = row.connection.revision
        for row in wanted.values():
            if row.pk not in self.held and Engine.objects.filter(pk=row.pk).claim(self.owner):
                self._begin(row)
        self._give_signs()

    def _give_signs(self) -> None:
        if time.monotonic() >= self._sign_at:
            self._sign_at = time.monotonic() + SIGN_OF_LIFE_EVERY
            Engine.objects.filter(owner__in=["", self.owner]).update(seen_at=Now())
        for held in self.held.values():
            if held.unsaved:
                held.unsaved = False
                Engine.objects.filter(pk=held.id).update(log="\n".join(held.lines))

    # --- one engine ---

    def _begin(self, row: Engine) -> None:
        key = row.new_key()
        try:
            given, hidden = _given(row, key)
        except (secrets.Unreadable, pydantic.ValidationError, LookupError) as error:
            logger.warning("Engine %s is not started: %s", row.pk, type(error).__name__)
            self._refuse(row)
            return
        row.save(update_fields=["sealed"])
        child = processes.engine(row.connection.slug, given.engine, given.as_line())
        running = Running(child)
        self.children.append(running)
        self.width = max(self.width, len(child.name))
        self.held[row.pk] = Held(row.pk, running, row.starts, row.connection.revision, _digest(given), [*hidden, key])
        _note(row.pk, state=EngineState.LOADING, percent=0, reason="", address="", described=[], log="")

    def _refuse(self, row: Engine) -> None:
        """Remembered as given up, so that it is tried again only when something changes."""
        running = Running(processes.engine(row.connection.slug, "", b""), start_at=None)
        self.held[row.pk] = Held(row.pk, running, row.starts, row.connection.revision, "")
        reason = "The connection's settings cannot be used. Look at its Settings tab."
        _note(row.pk, state=EngineState.FAILED, reason=reason, address="")

    def _end(self, held: Held) -> None:
        """Ask it to stop, then make it; the database hears of it when it is gone."""
        process = held.running.process
        held.running.start_at = None
        if process is None:
            self._forget(held)
        elif held.kill_at is None:
            held.kill_at = time.monotonic() + PATIENCE
            signal_group(process.pid, signal.SIGTERM)
            _note(held.id, address="")
        elif time.monotonic() > held.kill_at:
            signal_group(process.pid, signal.SIGKILL)

    def _forget(self, held: Held) -> None:
        del self.held[held.id]
        if held.running in self.children:
            self.children.remove(held.running)
        _note(held.id, state=EngineState.STOPPED, percent=0, reason="", address="", described=[], owner="")

    def _of(self, running: Running) -> Held | None:
        return next((held for held in self.held.values() if held.running is running), None)

    # --- what it says ---

    def hear(self, text: str, running: Running) -> None:
        held = self._of(running)
        if held is None:
            return
        told = heard(text)
        if told is not None:
            self._guarded(lambda: self._heard(held, told))
            return
        line = scrub(text, held.secrets)[:LINE]
        held.lines.append(line)
        held.unsaved = True
        self.say(line, running.child.name)

    def _heard(self, held: Held, told: dict[str, Any]) -> None:
        match told.get("state"):
            case "loading" if "port" in told:
                _note(held.id, state=EngineState.LOADING, percent=0, reason="", address=_address(told["port"]))
            case "loading":
                loading = Engine.objects.filter(pk=held.id, state=EngineState.LOADING)
                loading.update(percent=_percent(told.get("percent")))  # unless it runs by now
            case "running":
                models = told.get("models", [])
                _note(held.id, state=EngineState.RUNNING, percent=100, reason="", described=models)
                self.say("runs", held.running.child.name)
            case "failed":
                reason = scrub(str(told.get("reason", "")), held.secrets)[:300]
                _note(held.id, state=EngineState.FAILED, reason=reason, address="")
                self.say(reason, held.running.child.name)

    def _bury(self, running: Running, status: int) -> None:
        held = self._of(running)
        if held is None or held.kill_at is not None:
            running.process = None
            if held is not None:
                self._guarded(lambda: self._forget(held))
            return
        super()._bury(running, status)
        if status != running.child.hopeless:
            reason = _death(status, again=running.start_at is not None)
            self._guarded(lambda: _note(held.id, state=EngineState.FAILED, reason=reason, address=""))

    def _release(self) -> None:
        """At the end: another machine may take them over at once."""
        for held in self.held.values():
            _note(held.id, state=EngineState.STOPPED, percent=0, address="", described=[], owner="", seen_at=None)
        Engine.objects.filter(owner="").update(seen_at=None)


def _add_missing_rows() -> None:
    kinds = [kind for kind, provider in registry.providers().items() if provider.engine]
    for connection in Connection.objects.filter(kind__in=kinds, engine=None):
        Engine.objects.get_or_create(connection=connection)


def _is_other(row: Engine, held: Held) -> bool:
    """Whether it is to start anew: asked for, or told something else by now. A new name is no reason."""
    if row.starts != held.starts:
        return True
    if row.connection.revision == held.revision:
        return False
    try:
        return _digest(_given(row, "")[0]) != held.told
    except (secrets.Unreadable, pydantic.ValidationError, LookupError):
        return True


def _given(row: Engine, key: str) -> tuple[Given, list[str]]:
    """What it is told at its start, and the secrets among it."""
    provider = row.connection.provider()
    assert isinstance(provider, EngineDialect)  # noqa: S101 - rows exist for these kinds only
    given = Given(
        engine=provider.engine,
        host=settings.ENGINE_HOST,
        port=0,
        key=key,
        settings=provider.told(),
        secrets=dict(row.connection.credential()),
        folders=deployed.folders,
        classes=deployed.classes,
    )
    return given, provider.secrets()


def _digest(given: Given) -> str:
    return hashlib.sha256(replace(given, key="").as_line()).hexdigest()


def _address(port: int) -> str:
    host = settings.ENGINE_HOST
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _percent(told: Any) -> int:
    return min(max(told, 0), 100) if isinstance(told, int) else 0


def _death(status: int, *, again: bool) -> str:
    what = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    memory = " Perhaps the machine has too little memory." if status == -signal.SIGKILL else ""
    return f"The engine stopped ({what}).{memory} {'It starts again soon.' if again else 'It was given up.'}"


def _note(pk: UUID, **changed: Any) -> None:
    """Write it down, let the gateway know where the engine is now, and have the connection checked."""
    with transaction.atomic():
        Engine.objects.filter(pk=pk).update(**changed)
        Connection.objects.filter(pk=pk).update(check_due=Now())
        audit.announce()
