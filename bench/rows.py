"""Reads request ids, a line each, and prints how many of them have no usage row: `python -m bench.rows`."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")

import django

django.setup()

from gateway.models import Usage  # noqa: E402 - needs the apps

if __name__ == "__main__":
    written = set(Usage.objects.values_list("request_id", flat=True))
    print(len(set(sys.stdin.read().split()) - written))
