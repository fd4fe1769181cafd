"""Fills an empty database for the bench and prints the API key: `python -m bench.seed UPSTREAM_PORT`."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")

import django

django.setup()

from django.contrib.auth.models import Group  # noqa: E402 - needs the apps
from django.core.management import call_command  # noqa: E402 - needs the apps

from access import keys  # noqa: E402 - needs the apps
from access.models import EVERYONE, User  # noqa: E402 - needs the apps
from access.roles import Scope  # noqa: E402 - needs the apps
from connections.models import Connection, Grant, Model  # noqa: E402 - needs the apps

call_command("migrate", verbosity=0)
user, _ = User.objects.get_or_create(username="bench")
Connection.objects.filter(slug="bench").delete()
connection = Connection(name="Bench", slug="bench", kind="openai_compatible")
connection.settings = {"base_url": f"http://127.0.0.1:{sys.argv[1]}/v1", "sign_in": "none"}
connection.save()
Model.objects.create(connection=connection, public_id="bench/bench", upstream_id="bench")
Grant.objects.create(group=Group.objects.get(name=EVERYONE), connection=connection)
print(keys.issue(user, "bench", scopes=[Scope.GENERATE])[1])
