"""The shown code makes exactly the call that the playground made."""

import os
import shutil
import subprocess
import sys

import pytest

from playground.snippets import curl, javascript, python
from tests.upstream.faults import Fault

NASTY = "It's \"quoted\", costs $HOME and `id` \\n \\\nnext line\t$(touch /tmp/never) ü 漢字 ${x} </script> \u2028 '''"


@pytest.fixture
def body() -> dict:
    return {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": NASTY}],
        "temperature": 0.5,
        "stop": ["END"],
    }


@pytest.fixture
def called(mesh, connect, analysts, alice, key_for, upstream):
    """`called(snippet, *command)` runs the code and gives what it printed and what the upstream got."""
    connect("openai", group=analysts)
    environment = {**os.environ, "MESH_API_KEY": key_for(alice)}
    mesh.refresh()

    def run(command: list[str], code: str) -> tuple[str, dict]:
        done = subprocess.run(
            command, input=code, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, upstream.requests[-1].json

    return run


@pytest.mark.parametrize("stream", [{}, {"stream": True}])
def test_curl_runs_as_it_stands(called, mesh, body, stream, upstream):
    upstream.always(Fault.answer(text="Four."))

    printed, got = called(["bash"], curl({**body, **stream}, mesh.url))

    assert "Four." in printed
    assert got["messages"] == body["messages"]
    assert (got["temperature"], got["stop"]) == (0.5, ["END"])


@pytest.mark.parametrize("stream", [{}, {"stream": True}])
def test_python_runs_as_it_stands(called, mesh, body, stream, upstream):
    upstream.always(Fault.answer(text="Four."))

    printed, got = called([sys.executable, "-"], python({**body, **stream}, mesh.url))

    assert printed.strip() == "Four."
    assert got["messages"] == body["messages"]


@pytest.mark.skipif(not shutil.which("node"), reason="no node here to run the JavaScript with")
def test_javascript_runs_as_it_stands(called, mesh, body, upstream):
    upstream.always(Fault.answer(text="Four."))

    printed, got = called(["node", "--input-type=module", "-"], javascript(body, mesh.url))

    assert printed.strip() == "Four."
    assert got["messages"] == body["messages"]


def test_parameters_that_the_client_does_not_know_travel_as_extra_body(body):
    code = python({**body, "top_k": 40, "min_p": 0.1}, "http://localhost")

    compile(code, "snippet.py", "exec")
    assert "extra_body={'min_p': 0.1, 'top_k': 40}" in code or "extra_body={'top_k': 40, 'min_p': 0.1}" in code


def test_the_page_shows_the_code_of_the_call(visitor):
    visitor.ask(NASTY, temperature="0.5").rest()

    shown = visitor.get(f"/playground/runs/{visitor.run.pk}/code")

    assert "$MESH_API_KEY" in shown and "MESH_API_KEY" in shown
    assert visitor.mesh.key == "" or visitor.mesh.key not in shown
