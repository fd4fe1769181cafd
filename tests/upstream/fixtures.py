"""`upstream`: the fault upstream, fresh for each test."""

from collections.abc import Iterator

import pytest

from tests.upstream.server import Upstream


@pytest.fixture(scope="session")
def upstream_server() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture
def upstream(upstream_server: Upstream) -> Iterator[Upstream]:
    upstream_server.reset()
    yield upstream_server
    errors = upstream_server.errors
    upstream_server.reset()
    assert errors == []
