"""T3: a web process that is told to stop says so, takes nothing new, and lets what runs come to an end."""

import asyncio
import http.client
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group

from access import keys
from access.models import EVERYONE
from access.streams import stopping
from gateway import admission
from gateway.models import Usage
from llmmesh import asgi
from tests.conftest import make_user
from tests.gateway.contract import chat
from tests.mesh import Mesh, make_connection
from tests.upstream.faults import Fault
from tests.workers import PATIENCE, Workers

pytestmark = pytest.mark.timeout(180)
CHAT = "/v1/chat/completions"


class Site:
    """One web process."""

    def __init__(self, running: Workers, key: str, **environment: str) -> None:
        self.port, self.key = running.start_web(**environment), key
        self.process = running.running[-1]

    def open(self, method: str, path: str, body: object = None, line: http.client.HTTPConnection | None = None):
        line = line or http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        line.request(method, path, None if body is None else json.dumps(body), headers)
        return line.getresponse()

    def status(self, path: str) -> int:
        try:
            return self.open("GET", path).status
        except OSError:
            return 0


@pytest.fixture
def caller(transactional_db, upstream) -> str:
    """An API key."""
    everyone = Group.objects.get_or_create(name=EVERYONE)[0]
    make_connection(upstream, "openai", group=everyone)
    return keys.issue(make_user("caller"), "test", scopes=["generate", "read"])[1]


@pytest.fixture
def running(caller, tmp_path) -> Iterator[Workers]:
    running = Workers(tmp_path)
    try:
        running.start_valkey()
        yield running
    finally:
        running.stop()
        print(running.log.read_text()[-4000:])


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_stopped_process_is_not_ready_then_refuses_and_ends_with_its_last_stream(running, caller, upstream):
    site = Site(running, caller, MESH_DRAIN_SECONDS="2")
    upstream.script(Fault.answer(chunks=100, delay=0.06))
    stream = site.open("POST", CHAT, chat(stream=True))
    stream.read(20)

    site.process.send_signal(signal.SIGTERM)

    eventually(lambda: site.status("/readyz") == 503)
    answer = site.open("POST", CHAT, chat())
    assert (answer.status, answer.getheader("connection")) == (200, "close")
    refusal = eventually(lambda: answer if (answer := site.open("POST", CHAT, chat())).status != 200 else None)
    error = json.loads(refusal.read())["error"]
    assert (refusal.status, error["code"], refusal.getheader("connection")) == (503, "shutting_down", "close")
    assert (refusal.getheader("x-should-retry"), refusal.getheader("retry-after")) == ("true", "1")
    assert site.status("/accounts/login/") == 503
    assert site.status("/healthz") == 200

    assert stream.read().count(b"data: [DONE]") == 1
    site.process.wait(PATIENCE)
    assert site.status("/healthz") == 0
    assert Usage.objects.get(request_id=stream.getheader("x-request-id")).state == "ok"


def test_whoever_is_in_a_hurry_tells_it_twice(running, caller):
    site = Site(running, caller, MESH_DRAIN_SECONDS="600")

    site.process.send_signal(signal.SIGTERM)
    eventually(lambda: site.status("/readyz") == 503)
    site.process.send_signal(signal.SIGTERM)

    site.process.wait(PATIENCE)


@pytest.fixture
def ending(monkeypatch, settings) -> Iterator[None]:
    """A process that loses its patience soon. What it has closed is opened again for other tests."""
    settings.DRAIN_SECONDS = 0.1
    monkeypatch.setattr(asgi, "STREAM_SECONDS", 0.5)
    for door in (admission.calls, admission.pages):
        monkeypatch.setattr(door, "room", door.room)
        monkeypatch.setattr(door, "refusal", door.refusal)
    yield
    stopping.clear()


@pytest.mark.parametrize("stream", [True, False])
def test_what_takes_too_long_is_cut_off_with_an_error_and_counted(caller, mesh: Mesh, upstream, ending, stream):
    mesh.key = caller
    mesh.refresh()
    upstream.always(Fault.answer(chunks=1000, delay=0.05 if stream else 60))
    answers = []
    asking = threading.Thread(target=lambda: answers.append(mesh.post(CHAT, chat(stream=stream))))
    asking.start()
    eventually(lambda: upstream.requests and (not stream or upstream.requests[0].events_sent > 3))

    over = threading.Event()
    asyncio.run_coroutine_threadsafe(asgi._end(over.set), mesh._loop)

    asking.join(PATIENCE)
    assert over.wait(PATIENCE)
    [answer] = answers
    row = mesh.usage(answer)
    assert (row.state, row.status, row.error_code) == ("error", 503, "shutting_down")
    assert upstream.requests[0].disconnected.wait(PATIENCE)
    if stream:
        assert (answer.status, b"[DONE]" in answer.body) == (200, False)
        assert json.loads(answer.body.rpartition(b"event: error\ndata: ")[2])["error"]["code"] == "shutting_down"
        assert 3 < row.completion_tokens <= len(answer.chunks)
    else:
        assert (answer.status, answer.error["code"]) == (503, "shutting_down")
        assert answer.headers["connection"] == "close"


class Balancer:
    """Asks `/readyz` often and sends calls, over connections it keeps, to processes that are ready. Repeats none."""

    def __init__(self, sites: list[Site]) -> None:
        self.sites, self.ready = sites, list(sites)
        self.answered: Counter[int] = Counter()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=work) for work in (self._watch, *[self._call] * 6)]

    def __enter__(self) -> "Balancer":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(PATIENCE)

    def _watch(self) -> None:
        while not self.over.wait(0.1):
            self.ready = [site for site in list(self.sites) if site.status("/readyz") == 200]

    def _call(self) -> None:
        lines: dict[Site, http.client.HTTPConnection] = {}
        while not self.over.wait(0.1):
            site = random.choice(self.ready)
            line = lines.setdefault(site, http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE))
            try:
                answer = site.open("POST", CHAT, chat(), line)
                answer.read()
                self.answered[answer.status] += 1
            except (OSError, http.client.HTTPException):
                self.answered[0] += 1


def test_a_rolling_restart_fails_no_call(running, caller, upstream):
    upstream.always(Fault.answer(delay=0.05))
    with Balancer([Site(running, caller, MESH_DRAIN_SECONDS="2") for _ in range(2)]) as balancer:
        for old in list(balancer.sites):
            so_far = balancer.answered[200]
            eventually(lambda so_far=so_far: balancer.answered[200] > so_far + 20)
            balancer.sites.append(Site(running, caller))
            eventually(lambda: balancer.sites[-1] in balancer.ready)
            old.process.send_signal(signal.SIGTERM)
            old.process.wait(PATIENCE)

    print(balancer.answered)
    assert set(balancer.answered) == {200}
