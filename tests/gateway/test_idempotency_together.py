"""M8 with two real web processes: one upstream call for fifty copies, and a key that a dead process held."""

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db.models.functions import Now

from access import keys
from access.models import EVERYONE
from gateway.models import KeyedCall, Usage
from tests.conftest import make_user
from tests.gateway.contract import chat
from tests.mesh import make_connection
from tests.upstream.faults import Fault
from tests.workers import PATIENCE, Workers

pytestmark = pytest.mark.timeout(180)
COPIES = 50


@pytest.fixture
def together(transactional_db, tmp_path, upstream):
    make_connection(upstream, "openai", group=Group.objects.get_or_create(name=EVERYONE)[0])
    key = keys.issue(make_user("caller"), "test", scopes=["generate"])[1]
    running = Workers(tmp_path)
    running.environment.pop("REDIS_URL")
    try:
        yield running, [running.start_web(MESH_WEB_WORKERS="1") for _ in range(2)], key
    finally:
        running.stop()
        print(running.log.read_text()[-4000:])


def post(port, key, name):
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Idempotency-Key": name}
    line.request("POST", "/v1/chat/completions", json.dumps(chat()).encode(), headers)
    return line


def ask(port, key, name="order-1"):
    line = post(port, key, name)
    try:
        answer = line.getresponse()
        return answer.status, answer.getheader("idempotent-replayed"), answer.read()
    finally:
        line.close()


def test_fifty_copies_are_one_upstream_call(together, upstream):
    _, ports, key = together
    upstream.always(Fault.answer(delay=0.3))

    with ThreadPoolExecutor(COPIES) as pool:
        asked = [pool.submit(ask, ports[number % 2], key) for number in range(COPIES)]
    answers = [one.result() for one in asked]

    counted = Counter((status, again) for status, again, _ in answers)
    assert set(counted) <= {(200, None), (200, "true"), (409, None)}, counted
    assert counted[200, None] == 1
    assert len({body for status, _, body in answers if status == 200}) == 1
    assert len(upstream.requests) == 1
    assert Usage.objects.count() == 1
    assert [ask(port, key)[:2] for port in ports] == [(200, "true")] * 2


def test_a_process_that_dies_frees_its_keys_when_its_lease_is_over(together, upstream):
    running, (dying, staying), key = together
    upstream.script(Fault.silence())
    line = post(dying, key, "order-1")
    until = time.monotonic() + PATIENCE
    while not upstream.requests and time.monotonic() < until:
        time.sleep(0.02)
    running.kill(running.running[0])
    line.close()

    assert ask(staying, key)[0] == 409
    KeyedCall.objects.update(expires_at=Now() - timedelta(seconds=1))  # as if 30 s had passed
    assert ask(staying, key)[:2] == (200, None)
    assert ask(staying, key)[:2] == (200, "true")
