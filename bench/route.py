"""What a route makes of bad targets: `python -m bench.route [--calls 300] [--lines 20]`.

The real engine with a database of its own; the targets are real servers: one that refuses connections, one whose
first byte comes after two seconds, one that says 429 with Retry-After, one that is well. For each row of the table
the engine has forgotten what it knew of them.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from llmmesh.environment import create_missing_secrets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")
os.environ["MESH_DATA_DIR"] = tempfile.mkdtemp(prefix="mesh-route-")
os.environ |= {"MESH_PRIVATE_ADDRESSES": "127.0.0.0/8", "REDIS_URL": ""}
os.environ.pop("DATABASE_URL", None)
create_missing_secrets(Path(os.environ["MESH_DATA_DIR"]))

import django  # noqa: E402 - needs the environment

django.setup()

from asgiref.sync import sync_to_async  # noqa: E402 - needs the apps
from django.contrib.auth.models import Group  # noqa: E402 - likewise
from django.core.management import call_command  # noqa: E402 - likewise
from rich.console import Console  # noqa: E402 - likewise
from rich.table import Table  # noqa: E402 - likewise

from access.models import EVERYONE, User  # noqa: E402 - likewise
from access.principal import Principal  # noqa: E402 - likewise
from access.roles import Role  # noqa: E402 - likewise
from bench.machine import free_port  # noqa: E402 - likewise
from bench.targets import serve  # noqa: E402 - likewise
from connections.models import Connection, Grant, Model  # noqa: E402 - likewise
from connections.providers.calls import Mode  # noqa: E402 - likewise
from gateway.accepted import Prompt  # noqa: E402 - likewise
from gateway.envelope import Problem  # noqa: E402 - likewise
from gateway.models import Attempt, Route  # noqa: E402 - likewise
from gateway.pipeline import Engine, engine  # noqa: E402 - likewise
from gateway.routes.acts import create_route  # noqa: E402 - likewise

SLOW_SECONDS = 2.0
TARGETS = ("dead", "slow", "busy", "well")
FASTEST = "all four, the fastest first"
ROUTES = {
    "well alone": [("well", 1)],
    "dead, slow, busy; in turn": [("dead", 1), ("slow", 2), ("busy", 3)],
    "dead, slow, busy; by weight": [("dead", 1), ("slow", 1), ("busy", 1)],
    "dead, busy, slow; in turn": [("dead", 1), ("busy", 2), ("slow", 3)],
    "dead, slow, busy, then well": [("dead", 1), ("slow", 2), ("busy", 3), ("well", 4)],
    "dead, busy, then well": [("dead", 1), ("busy", 2), ("well", 3)],
    "dead, slow, busy by weight, then well": [("dead", 1), ("slow", 1), ("busy", 1), ("well", 2)],
    FASTEST: [("dead", 1), ("slow", 1), ("busy", 1), ("well", 1)],
    "dead and busy alone": [("dead", 1), ("busy", 2)],
}
BUSY = b'{"error": {"message": "Slow down.", "type": "rate_limit"}}'


@dataclass
class Seen:
    """What came of one row's calls."""

    answered: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)

    def ms(self, share: float) -> str:
        times = sorted(self.seconds)
        return f"{times[min(len(times) - 1, int(len(times) * share))] * 1000:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.route", description=__doc__)
    parser.add_argument("--calls", type=int, default=300, help="of each route")
    parser.add_argument("--lines", type=int, default=20, help="calls under way at once")
    asyncio.run(_measure(parser.parse_args()))


async def _measure(options: argparse.Namespace) -> None:
    ports = {"dead": free_port()}
    ports["slow"] = await serve(seconds=SLOW_SECONDS)
    ports["busy"] = await serve(429, BUSY, "Retry-After: 1")
    ports["well"] = await serve()
    principal = await sync_to_async(_fill)(ports)
    running = await engine()
    table = Table(title=f"{options.calls} calls of each route, {options.lines} at once")
    for heading in ("targets", "client saw", *TARGETS, "p50 ms", "p99 ms", "breakers"):
        table.add_column(heading, justify="right" if heading in {*TARGETS, "p50 ms", "p99 ms"} else "left")
    for number, name in enumerate(ROUTES):
        running.standings.forget()
        seen = await _row(running, principal, f"route-{number}", options)
        told = ", ".join(f"{count} × {what}" for what, count in seen.answered.most_common())
        counts = [str(seen.asked[target] or "") for target in TARGETS]
        table.add_row(name, told, *counts, seen.ms(0.5), seen.ms(0.99), _breakers(running, name))
    Console(width=190).print(table)


def _fill(ports: dict[str, int]) -> Principal:
    call_command("migrate", verbosity=0)
    user = User.objects.create_user("bench", role=Role.ANALYST)
    for name, port in ports.items():
        connection = Connection(name=name, slug=name, kind="openai_compatible")
        connection.settings = {"base_url": f"http://127.0.0.1:{port}/v1", "sign_in": "none"}
        connection.save()
        Grant.objects.create(group=Group.objects.get(name=EVERYONE), connection=connection)
        Model.objects.create(connection=connection, public_id=f"{name}/bench", upstream_id="bench")
    for number, (route, targets) in enumerate(ROUTES.items()):
        given = [{"model": f"{name}/bench", "weight": 1, "priority": priority} for name, priority in targets]
        strategy = Route.Strategy.LATENCY if route == FASTEST else Route.Strategy.WEIGHT
        create_route(user, name=f"route-{number}", strategy=strategy, targets=given)
    return user.principal


async def _row(running: Engine, principal: Principal, route: str, options: argparse.Namespace) -> Seen:
    seen, calls = Seen(), iter(range(options.calls))
    body = json.dumps({"model": route, "messages": [{"role": "user", "content": "Well?"}]}).encode()

    async def line() -> None:
        for _ in calls:
            started = time.perf_counter()
            try:
                answered = await running.ask(Prompt(principal, Mode.CHAT, body, "v1"))
                seen.answered[f"200 from {answered.record.connection}"] += 1
                if not answered.record.attempts:  # the ledger keeps those of calls with several, or that failed
                    seen.asked[answered.record.connection] += 1
            except Problem as problem:
                seen.answered[f"{problem.status} {problem.code}"] += 1
            seen.seconds.append(time.perf_counter() - started)

    await Attempt.objects.all().adelete()
    await asyncio.gather(*(line() for _ in range(options.lines)))
    seen.asked.update([target async for target in Attempt.objects.values_list("connection", flat=True)])
    return seen


def _breakers(running: Engine, name: str) -> str:
    models = {entry.connection: entry for entry in running.snapshot.models.values()}
    states = {target: running.standings.of(models[target]).breaker.state for target, _ in ROUTES[name]}
    return ", ".join(f"{target} {state}" for target, state in states.items())


if __name__ == "__main__":
    main()
