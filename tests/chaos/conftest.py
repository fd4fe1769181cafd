"""One site for all tests of a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from access.models import EVERYONE
from tests.chaos.site import Site, opened
from tests.upstream.server import Upstream


@pytest.fixture(scope="module")
def processes(request: pytest.FixtureRequest) -> tuple[int, int]:
    """How many web and worker processes the file's site has."""
    return 2, 0


@pytest.fixture(scope="module")
def running_site(
    django_db_setup: None,
    django_db_blocker: Any,
    upstream_server: Upstream,
    tmp_path_factory: Any,
    processes: tuple[int, int],
) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("site")
    with django_db_blocker.unblock():
        with opened(folder, upstream_server, *processes) as site:
            yield site
        call_command("flush", interactive=False, verbosity=0)
        Group.objects.get_or_create(name=EVERYONE)


@pytest.fixture
def site(running_site: Site, upstream: Upstream) -> Iterator[Site]:
    yield running_site
    running_site.heal()
