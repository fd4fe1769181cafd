"""Fills an empty database for the bench, everything switched on: `python -m bench.seed UPSTREAM_PORT`.

Prints JSON: the API key, and how `manage.py up` would start the web server and Valkey.
"""

import json
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")

import django

django.setup()

from django.contrib.auth.models import Group  # noqa: E402 - needs the apps
from django.core.management import call_command  # noqa: E402 - needs the apps

from access import keys  # noqa: E402 - needs the apps
from access.models import EVERYONE, User  # noqa: E402 - needs the apps
from access.roles import Role, Scope  # noqa: E402 - needs the apps
from bench.servers import ROUTE, TRANSLATED  # noqa: E402 - likewise
from connections.models import Connection, Grant, Model  # noqa: E402 - needs the apps
from gateway.budgets.acts import add_budget  # noqa: E402 - needs the apps
from gateway.limits.acts import add_limit  # noqa: E402 - needs the apps
from gateway.models import Budget, Extent, Limit  # noqa: E402 - needs the apps
from gateway.routes.acts import create_route  # noqa: E402 - needs the apps
from llmmesh import processes  # noqa: E402 - needs the apps

PLENTY = {Limit.What.REQUESTS: 10**9, Limit.What.TOKENS: 10**12, Limit.What.PARALLEL: 10**5}


def connect(kind: str, upstream_id: str, base_url: str) -> Model:
    connection = Connection(name=kind, slug=kind, kind=kind, settings={"base_url": base_url})
    connection.store_credential({"api_key": "sk-bench"})
    connection.save()
    Grant.objects.create(group=Group.objects.get(name=EVERYONE), connection=connection)
    return Model.objects.create(connection=connection, public_id=f"{kind}/{upstream_id}", upstream_id=upstream_id)


def fill(upstream: str) -> str:
    """The API key of a user with a limit of each kind and a budget, for routes to a model of each dialect."""
    user = User.objects.create_user("bench", role=Role.ANALYST)
    models = {
        ROUTE: connect("openai", "gpt-4o-mini", f"{upstream}/v1"),
        TRANSLATED: connect("anthropic", "claude-sonnet-5-5", upstream),
    }
    for name, model in models.items():
        create_route(user, name=name, targets=[{"model": model.public_id, "weight": 1, "priority": 1}])
    for what, amount in PLENTY.items():
        add_limit(user, scope=Extent.EACH_KEY, what=what, amount=amount)
    add_budget(user, scope=Extent.EACH_KEY, what=Budget.What.MONEY, amount=10**16, window=Budget.Window.DAY)
    return keys.issue(user, "bench", scopes=[Scope.GENERATE])[1]


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    if User.objects.exists():
        sys.exit("The bench needs a database of its own; there are users in this one.")
    path = processes.valkey_socket()
    told = {
        "key": fill(f"http://127.0.0.1:{sys.argv[1]}"),
        "web": processes.WEB_OPTIONS.split(),
        "valkey": list(processes.valkey({}, path).command),
        "redis_url": f"unix://{path}",
    }
    print(json.dumps(told))
