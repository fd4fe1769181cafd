"""`site`: the product's own processes as on several machines, with a fault proxy before each thing they lean on."""

import random
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection, transaction

from access import audit, keys
from access.models import EVERYONE
from access.roles import Role, Scope
from connections.models import Connection
from gateway.limits import acts as limits
from llmmesh import processes
from llmmesh.celery import app
from llmmesh.environment import broker_url
from tests.chaos.invariants import CALL_ID
from tests.chaos.proxy import Address, Proxy
from tests.conftest import make_user
from tests.mesh import Client, make_connection
from tests.upstream.server import Upstream
from tests.upstream.wire import Request
from tests.workers import PATIENCE, Workers, database_url, use_broker

PLACES = 1000
"""Calls of one key at once: more than any scenario makes, so that each holds a place and none is refused."""
RESTART = 0.5
"""Seconds after which a supervisor starts anew what died."""


class Site(Workers):
    """Web and worker processes that reach PostgreSQL, Valkey and providers only through proxies."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        super().__init__(folder)
        self.judge = upstream
        self.valkey_proxy = Proxy(self.socket)
        self.upstream_proxy = Proxy(("127.0.0.1", upstream.port))
        self.redis_url = f"redis://127.0.0.1:{self.valkey_proxy.port}/0"
        self.environment |= {"REDIS_URL": self.redis_url}
        self.database_proxy: Proxy | None = None
        if connection.vendor == "postgresql":
            self.database_proxy = Proxy(_database_address())
            self.environment["DATABASE_URL"] = database_url(("127.0.0.1", self.database_proxy.port))
        self.valkey: subprocess.Popen[bytes] | None = None
        self.beat: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.doors: list[Client] = []
        self.everyone = Group.objects.get_or_create(name=EVERYONE)[0]
        self.admin = make_user("admin", Role.ADMIN)
        self.caller = make_user("caller")
        self.key = keys.issue(self.caller, "chaos", scopes=list(Scope.values))[1]
        limits.add_limit(self.admin, scope="each_key", what="parallel", amount=PLACES)

    # --- its parts

    def open(self, webs: int = 2, workers: int = 0) -> None:
        self.valkey = self.start_valkey()
        self.doors = [Client(self.start_web(), self.key) for _ in range(webs)]
        if workers:
            self.beat = self.start(processes.beat(self.environment))
            self.workers = [self.start_worker() for _ in range(workers)]
            wait_for(lambda: self.listening() == workers, what="workers that wait for work")

    def listening(self) -> int:
        """How many workers wait for messages."""
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            return sum(line["cmd"] == "brpop" for line in client.client_list())

    def connect(self, name: str, **options: Any) -> Connection:
        """A connection that every web process knows."""
        made = self.make_connection(name, **options)
        self.announce()
        wait_for(lambda: all(f'"{name}/' in door.get("/v1/models").body.decode() for door in self.doors), what=name)
        return made

    def make_connection(self, name: str, **options: Any) -> Connection:
        """Its requests carry our id of the call, so that the judge knows whose bill it writes."""
        url = f"http://127.0.0.1:{self.upstream_proxy.port}/compatible/v1"
        options = {"models": {"local-chat": "chat"}, "group": self.everyone, "retries": 2} | options
        return make_connection(self.judge, "compatible", name=name, kind="litellm", url=url, **options)

    def announce(self) -> None:
        """Every web process shall see what was changed."""
        with transaction.atomic():
            audit.announce()
        time.sleep(1.5)  # the poll takes a second where the announcement is lost

    def restart_web(self, door: Client) -> None:
        self.start_web(door.port)

    def kill_valkey(self) -> None:
        assert self.valkey is not None
        self.kill(self.valkey)
        self.socket.unlink()

    def forget_valkey(self) -> None:
        """It will come back without its data."""
        shutil.rmtree(settings.DATA_DIR / "valkey")

    def flush_valkey(self) -> None:
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            client.flushall()

    def close(self) -> None:
        self.stop()
        for proxy in (self.valkey_proxy, self.upstream_proxy, self.database_proxy):
            if proxy is not None:
                proxy.stop()

    def heal(self) -> None:
        for proxy in (self.valkey_proxy, self.upstream_proxy, self.database_proxy):
            if proxy is not None:
                proxy.heal()

    # --- what it holds

    def judge_of(self, call: str) -> Request:
        """The provider's first request of one of our calls."""
        return next(request for request in self.judge.requests if request.headers.get(CALL_ID) == call)

    def figure(self, door: Client, name: str) -> float:
        """One of the process's metrics."""
        text = door.get("/metrics").body.decode()
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def _database_address() -> Address:
    """Where this test's server listens."""
    info = connection.settings_dict
    host = info["HOST"] or info.get("OPTIONS", {}).get("host") or "/var/run/postgresql"
    port = int(info["PORT"] or 5432)
    return Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else (host, port)


@contextmanager
def opened(folder: Path, upstream: Upstream, webs: int = 2, workers: int = 0) -> Iterator[Site]:
    """A site on an empty database; tasks that this process announces reach its workers too."""
    site, broker, redis_url = Site(folder, upstream), app.conf.broker_url, settings.REDIS_URL
    try:
        settings.REDIS_URL = site.redis_url
        use_broker(broker_url(site.redis_url))
        site.open(webs, workers)
        yield site
    finally:
        settings.REDIS_URL = redis_url
        use_broker(broker)
        site.close()
        print(site.log.read_text()[-4000:])


class Killer:
    """Kills one of the things that may die, again and again, and starts it anew as a supervisor would."""

    def __init__(self, seed: int, blows: int, pause: tuple[float, float]) -> None:
        self.blows, self.pause = blows, pause
        self.struck: list[tuple[float, str]] = []
        """When, and what."""
        self._random = random.Random(seed)
        self._targets: list[tuple[str, Callable[[], None]]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._strike, name="killer")

    def may_kill(self, name: str, kill: Callable[[], None]) -> None:
        """`kill` ends it and starts it anew."""
        self._targets.append((name, kill))

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def wait(self) -> None:
        """Until the last blow."""
        self._thread.join()

    def _strike(self) -> None:
        for _ in range(self.blows):
            if self._ended.wait(self._random.uniform(*self.pause)):
                return
            name, kill = self._random.choice(self._targets)
            self.struck.append((time.monotonic(), name))
            kill()


def kills_worker(site: Site, place: int) -> Callable[[], None]:
    def kill() -> None:
        site.kill(site.workers[place])
        time.sleep(RESTART)
        site.workers[place] = site.start_worker()

    return kill


def kills_beat(site: Site) -> Callable[[], None]:
    def kill() -> None:
        assert site.beat is not None
        site.kill(site.beat)
        time.sleep(RESTART)
        site.beat = site.start(processes.beat(site.environment))

    return kill


def kills_web(site: Site, door: Client) -> Callable[[], None]:
    def kill() -> None:
        site.kill(site.webs[door.port])
        site.restart_web(door)

    return kill


def wait_for(condition: Callable[[], Any], within: float = PATIENCE, what: str = "") -> float:
    """The seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within, f"Not within {within} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - started
