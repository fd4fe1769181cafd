"""How many calls a second one shared budget stands, from several processes at once, beside calls without a budget.

`python -m bench.debits [--processes 4] [--lines 128] [--seconds 5] [--rounds 3]`, with `DATABASE_URL` for another
database than SQLite. Each process runs the real engine: rights, gates, price, and the usage row committed with what
is booked; only the provider's answer is made up. Judge by the ratio: both are measured in turns, in one run.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmmesh.environment import create_missing_secrets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")
if "MESH_DATA_DIR" not in os.environ:
    os.environ["MESH_DATA_DIR"] = tempfile.mkdtemp(prefix="mesh-debits-")
    create_missing_secrets(Path(os.environ["MESH_DATA_DIR"]))

import django

django.setup()

from django.db import connection  # noqa: E402 - needs the apps

from access.principal import Principal  # noqa: E402 - needs the apps
from connections.providers.calls import Mode, Usage  # noqa: E402 - needs the apps
from gateway.accepted import Prompt  # noqa: E402 - needs the apps
from gateway.envelope import Problem  # noqa: E402 - needs the apps
from gateway.models import Budget, BudgetWindow  # noqa: E402 - needs the apps
from gateway.pipeline import Engine, engine  # noqa: E402 - needs the apps

MODEL, USER = "openai/gpt-4o-mini", "bench"
LONGEST = 40
"""Tokens that an answer may have; it has fewer at random."""


def main() -> None:
    options = _options()
    if options.work:
        print(json.dumps(asyncio.run(_work(json.loads(options.work)))))
    else:
        _measure(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.debits", description=__doc__)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--lines", type=int, default=128, help="calls under way at once in each process")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- one of the processes


async def _work(order: dict[str, Any]) -> dict[str, Any]:
    """`order`: model, user, lines, for how many seconds or calls, seed. Begins when it is told to."""
    running, outcome = await engine(), {"passed": 0, "refused": 0}
    random.seed(order["seed"])
    principal = next(one for one in running.snapshot.users.values() if one.label == order["user"])
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    started = time.perf_counter()
    calls = iter(range(order.get("calls") or sys.maxsize))

    async def line() -> None:
        for _ in calls:
            if time.perf_counter() - started > order.get("seconds", float("inf")):
                return
            outcome[await _call(running, principal, order["model"])] += 1

    await asyncio.gather(*(line() for _ in range(order["lines"])))
    outcome["ms"] = round((time.perf_counter() - started) * 1000)
    if order.get("hold"):
        await _hold(running, principal, order["model"])
    return outcome


async def _call(running: Engine, principal: Principal, model: str) -> str:
    """Through the engine, as if a provider had answered with fewer tokens than it might have."""
    try:
        accepted = await running.accept(_prompt(principal, model))
    except Problem as problem:
        if problem.code != "budget_exceeded":
            raise
        return "refused"
    accepted.begin()
    await asyncio.sleep(0)
    accepted.record.take_usage(Usage(accepted.prompt_tokens, random.randint(0, LONGEST)))
    await running.settle(accepted.record, accepted.started, accepted)
    return "passed"


def _prompt(principal: Principal, model: str) -> Prompt:
    body = {"model": model, "max_tokens": LONGEST, "messages": [{"role": "user", "content": "one two three"}]}
    return Prompt(principal, Mode.CHAT, json.dumps(body).encode(), "v1")


async def _hold(running: Engine, principal: Principal, model: str) -> None:
    """Begin a call and never end it."""
    accepted = await running.accept(_prompt(principal, model))
    accepted.begin()
    running.exchange(accepted)
    print("holding", flush=True)
    await asyncio.sleep(3600)


def start_workers(orders: Sequence[dict[str, Any]]) -> list[subprocess.Popen[str]]:
    """Each does what its order says, as `_work` takes it; all begin at once."""
    workers = [_start_worker(order) for order in orders]
    for worker in workers:
        _said(worker)
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return workers


def _start_worker(order: dict[str, Any]) -> Any:
    command = [sys.executable, "-m", "bench.debits", "--work", json.dumps(order)]
    folder = Path(__file__).parent.parent
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)


def _said(worker: Any) -> str:
    line: str = worker.stdout.readline().strip()
    if not line:
        sys.exit(f"A worker failed with {worker.wait()}.")
    return line


def outcome_of(worker: Any) -> dict[str, Any]:
    """How many calls passed or were refused, and in how many ms."""
    found: dict[str, Any] = json.loads(_said(worker))
    worker.wait()
    return found


# --- all of them


def _measure(options: argparse.Namespace) -> None:
    seed = [sys.executable, "-m", "bench.seed", "9"]  # nobody listens there; nobody is asked
    subprocess.run(seed, check=True, stdout=subprocess.DEVNULL)
    rates: dict[str, list[float]] = {"rows without a budget": [], "debits on one budget": []}
    for _ in range(options.rounds):
        for name, found in rates.items():
            Budget.objects.all().delete()
            if name.startswith("debits"):
                Budget.objects.create(scope="all", what="tokens", amount=10**12, window="month")
            connection.close()
            found.append(_round(options))
    window = BudgetWindow.objects.get()
    plain, debits = (statistics.median(found) for found in rates.values())
    print(f"{connection.vendor}, {options.processes} processes with {options.lines} calls under way in each")
    for name, found in rates.items():
        print(f"  {name:24} {statistics.median(found):8,.0f} per second   {[round(one) for one in found]}")
    print(f"  ratio {debits / plain:.2f}; booked {window.spent:,} tokens, still reserved {window.reserved}")


def _round(options: argparse.Namespace) -> float:
    """Calls per second over all processes."""
    order = {"model": MODEL, "user": USER, "lines": options.lines, "seconds": options.seconds}
    outcomes = map(outcome_of, start_workers([{**order, "seed": seed} for seed in range(options.processes)]))
    return sum(outcome["passed"] / outcome["ms"] * 1000 for outcome in outcomes)


if __name__ == "__main__":
    main()
