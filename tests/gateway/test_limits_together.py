"""L1 with two real web processes and a real Valkey: counted together, changed together, alone while it is away."""

import http.client
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group

from access import keys
from access.models import EVERYONE
from gateway.limits import acts
from tests.conftest import make_user
from tests.gateway.contract import chat
from tests.mesh import make_connection
from tests.workers import PATIENCE, Workers

pytestmark = pytest.mark.timeout(180)


class Site:
    """One of the two processes."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key

    def fetch(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], str]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            line.request(method, path, body, headers)
            answer = line.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
        finally:
            line.close()

    def ask(self) -> tuple[int, dict[str, str], str]:
        return self.fetch("POST", "/v1/chat/completions", json.dumps(chat("openai")).encode())

    @property
    def degraded(self) -> float:
        found = re.search(r"^mesh_limits_degraded_calls_total (\S+)$", self.fetch("GET", "/metrics")[2], re.MULTILINE)
        return float(found[1])


def passed(sites: list[Site], each: int) -> list[int]:
    """How many of `each` calls every site lets through, all asked at once."""
    with ThreadPoolExecutor(8) as pool:
        rounds = [[pool.submit(site.ask) for site in sites] for _ in range(each)]
    statuses = [[asked[place].result()[0] for asked in rounds] for place in range(len(sites))]
    assert {status for found in statuses for status in found} <= {200, 429}, statuses
    return [found.count(200) for found in statuses]


def told_limit(site: Site) -> str:
    """The amount by which this process counts."""
    status, headers, body = site.ask()
    return headers["x-ratelimit-limit-requests"] if status == 200 else re.search(r"limit of (\d+) ", body)[1]


def wait_for(condition) -> float:
    """The seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def together(transactional_db, tmp_path, upstream, settings, ada):
    everyone = Group.objects.get_or_create(name=EVERYONE)[0]
    make_connection(upstream, "openai", group=everyone)
    limit = acts.add_limit(ada, scope="each_key", what="requests", amount=20, seconds=86400)
    key = keys.issue(make_user("caller"), "test", scopes=["generate"])[1]
    running = Workers(tmp_path)
    try:
        valkey = running.start_valkey()
        settings.REDIS_URL = running.redis_url  # what this test changes is announced to them
        sites = [Site(running.start_web(MESH_WEB_WORKERS="2"), key) for _ in range(2)]
        yield running, valkey, sites, limit
    finally:
        running.stop()
        print(running.log.read_text()[-4000:])


def test_two_processes_count_as_one_and_go_on_alone(together, ada):
    running, valkey, sites, limit = together
    for site in sites:  # awake, so that none is too busy with itself to ask Valkey
        assert site.fetch("GET", "/v1/models")[0] == 200

    # one bucket for both: a place comes back every 72 minutes, so no slow machine adds one
    counts = passed(sites, 30)
    assert sum(counts) == 20
    assert passed(sites, 5) == [0, 0]

    # a change reaches both; each is asked until it tells the new amount
    acts.change_limit(ada, limit, amount=1000)
    took = [wait_for(lambda site=site: told_limit(site) == "1000") for site in sites]
    print(f"Counts {counts}; the new amount is known after {took} s")

    # without Valkey each has its half, and says how often it counted alone
    acts.change_limit(ada, limit, amount=30)
    for site in sites:
        wait_for(lambda site=site: told_limit(site) == "30")
    assert [site.degraded for site in sites] == [0, 0]
    running.kill(valkey)
    assert passed(sites, 25) == [15, 15]
    assert [site.degraded for site in sites] == [25, 25]

    # and they count together again when it is back
    running.socket.unlink()
    running.start_valkey()
    acts.change_limit(ada, limit, amount=400)
    for site in sites:
        wait_for(lambda site=site: told_limit(site) == "400" and not degrades(site))


def degrades(site: Site) -> bool:
    before = site.degraded
    site.ask()
    return site.degraded > before
