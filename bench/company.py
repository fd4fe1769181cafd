"""A large company, made up: `fill()` writes it into an empty database (needs Django set up)."""

import random
from collections.abc import Mapping

from django.contrib.auth.models import Group
from django.core.management import call_command

from access import audit, keys
from access.models import EVERYONE, ApiKey, User
from access.roles import Role, Scope
from connections.models import Connection, Grant, Model, Price
from gateway.models import Extent, Limit, Route, RouteTarget

KEYS, USERS, GROUPS, GRANTS = 10_000, 2_000, 100, 300
CONNECTIONS, MODELS, ROUTES, PRICED = 50, 2_000, 100, 200
KINDS: Mapping[str, str] = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-sonnet-5-5",
    "mistral": "mistral-large-latest",
    "groq": "llama-3.3-70b-versatile",
    "openai_compatible": "qwen3-32b",
}


def fill() -> None:
    call_command("migrate", verbosity=0)
    random.seed(1)
    users = User.objects.bulk_create(User(username=f"user{n}", role=Role.ANALYST) for n in range(USERS))
    groups = Group.objects.bulk_create(Group(name=f"group{n}") for n in range(GROUPS))
    groups.append(Group.objects.get(name=EVERYONE))
    member = User.groups.through
    member.objects.bulk_create(member(user=user, group=group) for user in users for group in random.sample(groups, 2))
    models = _models()
    _keys(users, models)
    _grants(groups)
    _routes(models)
    Price.objects.bulk_create(Price(model=model, amounts={"input": "0.15"}) for model in models[:PRICED])
    Limit.objects.create(scope=Extent.EACH_KEY, what=Limit.What.REQUESTS, amount=1000)
    audit.announce()


def _keys(users: list[User], models: list[Model]) -> None:
    ApiKey.objects.bulk_create(
        ApiKey(
            public_id=f"{n:010}",
            digest=keys.digest(f"key{n}"),
            name=f"key {n}",
            owner=users[n % USERS],
            scopes=[Scope.GENERATE],
            allowed_models=[models[n % MODELS].public_id] if n % 10 == 0 else [],
        )
        for n in range(KEYS)
    )


def _models() -> list[Model]:
    connections = []
    for n in range(CONNECTIONS):
        kind = list(KINDS)[n % len(KINDS)]
        connection = Connection(name=f"Connection {n}", slug=f"connection{n}", kind=kind)
        connection.settings = {"base_url": "https://models.example.com/v1"}
        connection.store_credential({"api_key": f"sk-{n}"})
        connections.append(connection)
    Connection.objects.bulk_create(connections)
    models = []
    for n in range(MODELS):
        connection = connections[n % CONNECTIONS]
        upstream_id = f"{KINDS[connection.kind]}-{n}"
        models.append(
            Model(connection=connection, public_id=f"{connection.slug}/{upstream_id}", upstream_id=upstream_id)
        )
    return Model.objects.bulk_create(models)


def _grants(groups: list[Group]) -> None:
    connections = list(Connection.objects.all())
    pairs = random.sample([(group, connection) for group in groups for connection in connections], GRANTS)
    Grant.objects.bulk_create(Grant(group=group, connection=connection) for group, connection in pairs)


def _routes(models: list[Model]) -> None:
    routes = Route.objects.bulk_create(Route(name=f"route{n}") for n in range(ROUTES))
    RouteTarget.objects.bulk_create(
        RouteTarget(route=route, model=model) for route in routes for model in random.sample(models, 3)
    )
