"""The OpenAPI document's operations, asked by Schemathesis with good and with bad data on a real server.

Without more, only those that read are asked, once for each rule of the document and with no other method. `make
schemathesis` asks all of them, `EXAMPLES` more times each, and prints what was done.
"""

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group

from access import keys
from access.models import EVERYONE
from access.roles import Role, Scope
from connections.providers.calls import Mode
from tests.conftest import make_user
from tests.mesh import make_connection
from tests.workers import PATIENCE, Workers

pytestmark = pytest.mark.timeout(3600)
EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
"""Made up for each operation; 0: in the suite."""
LEFT_OUT = {
    "positive_data_acceptance": "No document can tell which names are taken and which objects there are.",
}
KEPT, DELETED = 0, 1
"""Of each object there are two, because some operations delete theirs."""
WINDOWS = ("day", "week")


class Site:
    """The web process, asked as an admin with a key of all scopes."""

    def __init__(self, port: int, key: str, spare_url: str) -> None:
        self.port, self.key, self.spare_url = port, key, spare_url

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        line.request("POST", path, json.dumps(body), headers)
        answer = line.getresponse()
        made: dict[str, Any] = json.loads(answer.read())
        assert answer.status in (201, 202), (path, made)
        return made


@pytest.fixture
def site(transactional_db, tmp_path, upstream) -> Iterator[Site]:
    everyone = Group.objects.get_or_create(name=EVERYONE)[0]
    models = {
        "gpt-4o-mini": Mode.CHAT,
        "text-embedding-3-small": Mode.EMBEDDING,
        "gpt-3.5-turbo-instruct": Mode.COMPLETION,
    }
    make_connection(upstream, "openai", models, everyone)
    key = keys.issue(make_user("ada", Role.ADMIN), "schemathesis", scopes=list(Scope.values))[1]
    make_user("anna", Role.ADMIN)  # whatever becomes of her
    running = Workers(tmp_path)
    try:
        running.start_valkey()
        running.environment["PYTHONWARNINGS"] = "ignore"
        yield Site(running.start_web(), key, upstream.url("compatible"))
    finally:
        running.stop()
        print(running.log.read_text()[-4000:])


def objects(site: Site) -> dict[str, list[Any]]:
    """What each collection holds for the operations on one object: path → ids."""
    found: dict[str, list[Any]] = {}
    model = {"model": "openai/gpt-4o-mini"}
    account = {"kind": "openai_compatible", "settings": {"base_url": site.spare_url, "sign_in": "none"}}
    bodies: dict[str, Any] = {
        "connections": lambda copy: {**account, "name": f"Spare {copy}"},
        "generations": lambda copy: {**model, "messages": [{"role": "user", "content": "x"}]},
        "groups": lambda copy: {"name": f"Group {copy}"},
        "keys": lambda copy: {"name": f"key {copy}", "scopes": ["read"]},
        "limits": lambda copy: {"scope": "all", "what": "requests", "amount": 10**9, "seconds": 60**copy},
        "budgets": lambda copy: {"scope": "all", "what": "tokens", "window": WINDOWS[copy], "amount": 10**9},
        "models": lambda copy: {"connection": found["connections"][copy], "upstream_id": "spare"},
        "prices": lambda copy: {"model": found["models"][copy], "amounts": {"call": "1"}},
        "routes": lambda copy: {"name": f"route-{copy}", "targets": [model]},
        "users": lambda copy: {"username": f"user{copy}", "role": "analyst"},
    }
    for name, body in bodies.items():
        found[name] = [site.post(f"/api/{name}/", body(copy))["id"] for copy in (KEPT, DELETED)]
    return found


def configuration(ids: dict[str, list[Any]]) -> str:
    """Sends the operations on one object to those that there are."""
    found = ["" if EXAMPLES else "[phases.coverage]\nunexpected-methods = []\n"]
    found += [f"[checks]\n{name}.enabled = false\n" for name in LEFT_OUT]
    for name, (kept, deleted) in ids.items():
        which = f'[[operations]]\ninclude-path-regex = "^/api/{name}/[{{]"\n'
        for more, given in (("", kept), ('include-method = "DELETE"\n', deleted)):
            given = json.dumps(given)
            found.append(f'{which}{more}parameters = {{ "path.id" = {given}, "path.public_id" = {given} }}\n')
    return "\n".join(found)


def test_the_document_holds(site: Site, tmp_path: Path):
    config = tmp_path / "schemathesis.toml"
    config.write_text(configuration(objects(site)))
    phases = "examples,coverage" + (",fuzzing,stateful" if EXAMPLES else "")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"http://127.0.0.1:{site.port}/api/schema/?format=json", "--phases", phases),
        *("--header", f"Authorization: Bearer {site.key}", "--max-examples", str(EXAMPLES or 1), "--seed", "1"),
        *("--workers", "2", "--no-color", "--warnings", "off", "--continue-on-failure"),
        *("--request-timeout", "90"),  # one may wait for a job for a minute
        *(() if EXAMPLES else ("--include-method", "GET")),
    ]

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    print(done.stdout[-20_000:], done.stderr[-2000:])
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested and int(tested[1]) > (70 if EXAMPLES else 20)
    assert done.returncode == 0
