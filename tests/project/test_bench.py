"""What the bench judges by: its stream client, its verdicts, its sorting of stacks."""

import json
import socket
import subprocess
import sys

import pytest

from bench import profile, report
from bench.crashes import Crash
from bench.machine import free_port
from bench.memory import growth
from bench.servers import DIRECT, LITELLM, MESH, NGINX, PORTKEY
from bench.shown import CALLS, MANY, Found, targets
from bench.starts import Start


@pytest.fixture
def upstream():
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "bench.upstream", str(port)]) as process:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield port
        process.kill()


def read(port, path="/v1/chat/completions", **load):
    told = {"port": port, "path": path, "headers": {}, "model": "any", "streams": 8, "rate": 100, "chunks": 10}
    command = [sys.executable, "-m", "bench.streams", json.dumps({**told, "alone": False, **load})]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.parametrize("alone", [True, False])
def test_a_whole_stream_loses_nothing(upstream, alone):
    seen = read(upstream, alone=alone)

    assert (seen["units"], seen["lost"], seen["failed"]) == (80, 0, 0)


def test_a_stream_without_its_end_has_failed(upstream):
    """Anthropic's dialect has no `[DONE]`, which is what the client waits for."""
    seen = read(upstream, path="/v1/messages", streams=1, patience=1)

    assert (seen["units"], seen["failed"]) == (10, 1)


def verdicts(found):
    """By promise: whether each of its rows is kept."""
    kept: dict[str, str] = {}
    columns = [list(column.cells) for column in targets(found).columns]
    for number, mark in zip(columns[0], columns[4], strict=True):
        kept[number] = kept.get(number, "") + mark
    return kept


def cost(server, us, what=CALLS[16]):
    return {"what": what, "server": server, "us": us, "p99_ms": us / 100, "lost": 0}


def test_a_promise_is_kept_up_to_its_limit():
    found = [cost(NGINX, 10), cost(PORTKEY, 500), cost(LITELLM, 3846), cost(DIRECT, 0)]

    assert verdicts(Found([*found, cost(MESH, 49)])) == {"P1": "✓✓✓", "P5": "✓"}
    assert verdicts(Found([*found, cost(MESH, 501)])) == {"P1": "✗✗✗", "P5": "✗"}


def test_what_was_not_measured_is_not_judged():
    assert verdicts(Found()) == {}


def test_lost_chunks_unwritten_rows_and_slow_starts_break_promises():
    lost = {**cost(MESH, 1, MANY), "lost": 1}

    assert verdicts(Found([lost]))["P7"] == "✓✗"
    assert verdicts(Found(crash=Crash(100, 1)))["P10"] == "✗"
    assert verdicts(Found(start=Start(1.0, 0.9, 100, 161)))["P9"] == "✓✓✗"


def test_the_tables_take_the_place_of_the_last_ones_in_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# How to measure\n\n{report.HEADING}\n\nlong ago\n")

    report.write(page, [targets(Found(crash=Crash(100, 0)))], "at home")

    text = page.read_text()
    assert text.startswith(f"# How to measure\n\n{report.HEADING}\n\n2")
    assert "| P10 | of 100 answers before kill -9, without a usage row | 0 | ≤ 0 | ✓ |" in text
    assert "at home" in text and "long ago" not in text


def test_growth_is_told_per_ten_thousand():
    assert growth([(1000, 100.0), (2000, 100.5), (3000, 101.0)]) == pytest.approx(5)
    assert growth([(1000, 100.0), (2000, 100.0)]) == 0


@pytest.mark.parametrize(
    ("innermost", "part"),
    [
        ("execute (django/db/backends/utils.py:9);dumps (json/__init__.py:3)", "usage rows"),
        ("Shared.take (gateway/limits/counters.py:1);pack (redis/asyncio/connection.py:2)", "limits and budgets"),
        ("Engine.accept (gateway/pipeline.py:8);timeout (asyncio/timeouts.py:1)", "rights, route, settling"),
        ("Protocol.data_received (uvicorn/protocols/http/httptools_impl.py:174)", "server protocol"),
    ],
)
def test_the_innermost_function_of_ours_says_to_which_part_a_sample_belongs(tmp_path, innermost, part):
    (tmp_path / "stacks").write_text(
        f"MainThread;run (uvicorn/main.py:632);Runner.run (asyncio/runners.py:118);{innermost} 7\n"
        "MainThread;run (uvicorn/main.py:632);Runner.run (asyncio/runners.py:118) 3\n"
        "meter_0;_worker (concurrent/futures/thread.py:81) 90\n"
    )

    assert profile.parts(tmp_path / "stacks") == {part: 7, profile.LOOP: 3}
