"""L5: whoever waits for a model holds no database connection."""

import time
from collections import Counter

import pytest
from django.db import connection

from gateway.models import Usage
from tests.gateway.contract import chat
from tests.upstream.faults import Fault

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connections to count"),
]
STREAMS = 200
BESIDES = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def test_open_streams_hold_no_database_connections(shared_mesh, upstream):
    upstream.always(Fault.answer(chunks=1000, delay=0.2))
    streams = [shared_mesh.open("POST", "/v1/chat/completions", chat(stream=True)) for _ in range(STREAMS)]

    with connection.cursor() as cursor:
        cursor.execute(BESIDES)
        states = Counter(state for (state,) in cursor.fetchall())

    print(f"With {len(upstream.requests)} streams open: {dict(states)}")
    assert len(upstream.requests) == STREAMS
    assert states.total() < 20
    assert not {"idle in transaction", "idle in transaction (aborted)"} & set(states)
    for stream in streams:
        stream.close()
    deadline = time.monotonic() + 60
    while Usage.objects.count() < STREAMS and time.monotonic() < deadline:
        time.sleep(0.1)
