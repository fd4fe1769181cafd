"""`mesh`: the real application behind a real server on loopback; `connect`: a connection to the fault upstream."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import transaction

from access import audit, keys
from access.models import EVERYONE, User
from access.roles import Role, Scope
from connections.models import Connection, Grant, Model
from connections.providers.calls import Mode
from gateway.models import Usage
from gateway.pipeline import engine
from tests.upstream.server import Upstream

KINDS = {"openai": "openai", "compatible": "openai_compatible", "anthropic": "anthropic", "llamacpp": "llamacpp"}
"""The provider that speaks each of the upstream's dialects."""
MODELS = {"openai": "gpt-4o-mini", "compatible": "local-chat", "anthropic": "claude-sonnet-5-5", "llamacpp": "smollm2"}
EMBEDDERS = {"openai": "text-embedding-3-small", "compatible": "local-embed", "llamacpp": "smollm2-embed"}
COMPLETERS = {"openai": "gpt-3.5-turbo-instruct", "compatible": "local-text", "llamacpp": "smollm2-text"}


def make_connection(
    upstream: Upstream,
    dialect: str,
    models: dict[str, str] | None = None,
    group: Group | None = None,
    *,
    name: str = "",
    url: str = "",
    kind: str = "",
    settings: dict[str, Any] | None = None,
    secrets: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    **columns: Any,
) -> Connection:
    """A connection to the upstream, its models (`{upstream id: mode}`) and a grant of all of them to `group`.

    It makes no retries unless asked to: what most tests look at is the one upstream call that they scripted.
    The models' public ids are `<dialect>/<upstream id>`. `settings` and `secrets` are those of providers that ask
    for more than a base URL and a key; `options` those of every model.
    """
    name = name or dialect
    models = {MODELS[dialect]: Mode.CHAT} if models is None else models
    columns.setdefault("retries", 0)
    with transaction.atomic():
        connection = Connection(name=name, slug=name, kind=kind or KINDS[dialect], **columns)
        connection.settings = {"base_url": url or upstream.url(dialect)} if settings is None else settings
        connection.store_credential({"api_key": upstream.key} if secrets is None else secrets)
        connection.save()
        for upstream_id, mode in models.items():
            public_id = f"{name}/{upstream_id}"
            Model.objects.create(
                connection=connection, public_id=public_id, upstream_id=upstream_id, mode=mode, options=options or {}
            )
        if group is not None:
            Grant.objects.create(group=group, connection=connection)
        audit.announce()
    return connection


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def events(self) -> list[str]:
        """The data of a stream's events, `[DONE]` included."""
        lines = self.body.decode().split("\n")
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    @property
    def chunks(self) -> list[Any]:
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def text(self) -> str:
        """The content that the answer says, streamed or whole."""
        if not self.headers["content-type"].startswith("text/event-stream"):
            return self.json["choices"][0]["message"]["content"]
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


class Client:
    """The means to speak with the application at one port."""

    def __init__(self, port: int, key: str = "") -> None:
        self.port = port
        self.key = key
        """What calls are made with unless they say otherwise."""
        self.patience = 30.0
        """Seconds for which an answer may be silent."""

    def open(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """The answer from its first byte on; its `close` leaves at once."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience)
        self.send(connection, method, path, body, key=key, headers=headers)
        return connection.getresponse()

    def send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        key = self.key if key is None else key
        auth = {"authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, data, {"content-type": "application/json", **auth, **(headers or {})})

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        with self.open(method, path, body, **options) as answer:
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read())

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> Answer:
        return self.request("POST", path, body, **options)

    def connect(self, timeout: float = 30) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def raw(self, data: bytes, timeout: float = 30) -> bytes:
        """Send these bytes and read one answer, or what comes until the server closes."""
        with self.connect(timeout) as line:
            with suppress(ConnectionError):  # it may answer and close before it has read all
                line.sendall(data)
            return read_answer(line)


class Mesh(Client):
    """The application, served in a thread of its own, and the means to speak with it."""

    def __init__(self) -> None:
        options = {"timeout_keep_alive": 75, "timeout_graceful_shutdown": 1, "ws": "none", "server_header": False}
        options |= {"http": "llmmesh.server:Protocol", "access_log": False, "log_level": "warning"}
        config = uvicorn.Config("llmmesh.asgi:application", port=0, **options)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="mesh", daemon=True)
        super().__init__(0)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            self._loop = runner.get_loop()
            runner.run(self._server.serve())

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the application did not start"
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    def refresh(self) -> None:
        """Let the gateway see at once what was just saved; by itself it would take up to two seconds."""

        async def refresh() -> None:
            await (await engine()).snapshots.refresh()

        asyncio.run_coroutine_threadsafe(refresh(), self._loop).result(30)

    def forget(self) -> None:
        """Let no failure of an earlier test keep a model from being called."""

        async def forget() -> None:
            (await engine()).standings.forget()

        asyncio.run_coroutine_threadsafe(forget(), self._loop).result(30)

    # --- what it wrote down

    def usage(self, answer: Answer, within: float = 30.0) -> Usage | None:
        """The usage row of an answer."""
        return self.usage_of(answer.headers["x-request-id"], within)

    def usage_of(self, request_id: str, within: float = 30.0) -> Usage | None:
        deadline = time.monotonic() + within
        while True:
            row = Usage.objects.filter(request_id=request_id).first()
            if row is not None or time.monotonic() > deadline:
                return row
            time.sleep(0.02)


def read_answer(line: socket.socket) -> bytes:
    data = b""
    while not _complete(data):
        try:
            piece = line.recv(65536)
        except ConnectionError:
            break
        if not piece:
            break
        data += piece
    return data


def _complete(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    if not found or head.startswith(b"HTTP/1.1 100"):
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return body.endswith(b"0\r\n\r\n")


def parse_answer(data: bytes) -> Answer:
    """An answer that `raw` brought."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


_serving: list[Mesh] = []


@contextmanager
def serving() -> Iterator[Mesh]:
    running = Mesh()
    running.start()
    _serving.append(running)
    try:
        yield running
    finally:
        _serving.remove(running)
        running.stop()


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """What a test's upstream did keeps no model of the next test from being called."""
    for running in _serving:
        running.forget()


@pytest.fixture
def connect(upstream: Upstream, db: None) -> Any:
    """`connect("anthropic", group=analysts)` gives a connection to the upstream; see `make_connection`."""

    def make(dialect: str, *args: Any, **options: Any) -> Connection:
        return make_connection(upstream, dialect, *args, **options)

    return make


@pytest.fixture
def mesh(transactional_db: None) -> Iterator[Mesh]:
    """The application on an empty database of this test; call `mesh.refresh()` after changing what it must know."""
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def shared_mesh(django_db_setup: None, django_db_blocker: Any, upstream_server: Upstream) -> Iterator[Mesh]:
    """One application for all tests of a module: a connection per dialect, granted to the owner of `mesh.key`.

    Its tests take no other database fixture: what they save is there for the tests after them.
    """
    with django_db_blocker.unblock():
        everyone, _ = Group.objects.get_or_create(name=EVERYONE)
        for dialect in KINDS:
            make_connection(upstream_server, dialect, _models_of(dialect), everyone)
        owner = User.objects.create_user("caller", role=Role.ANALYST)
        with serving() as running:
            running.key = keys.issue(owner, "suite", scopes=list(Scope.values))[1]
            running.refresh()
            yield running
        call_command("flush", interactive=False, verbosity=0)
        Group.objects.get_or_create(name=EVERYONE)


def _models_of(dialect: str) -> dict[str, str]:
    found = {MODELS[dialect]: Mode.CHAT}
    found |= {EMBEDDERS[dialect]: Mode.EMBEDDING} if dialect in EMBEDDERS else {}
    return found | ({COMPLETERS[dialect]: Mode.COMPLETION} if dialect in COMPLETERS else {})
