"""`database`: the test's own database, which can leave and come back."""

from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from django.db import OperationalError, connection

POOL = 10
"""Connections that one process has at most."""


class Database:
    """On PostgreSQL everybody is thrown out and nobody let in; SQLite's ledger loses its table."""

    def __init__(self) -> None:
        self.gone = False
        self._postgresql = connection.vendor == "postgresql"

    def leave(self) -> None:
        self.gone = True
        if self._postgresql:
            self._administer("ALTER DATABASE {} ALLOW_CONNECTIONS false")
            self._administer("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'")
        else:
            _execute("ALTER TABLE gateway_usage RENAME TO gone")

    def come_back(self) -> None:
        self.gone = False
        if self._postgresql:
            self._administer("ALTER DATABASE {} ALLOW_CONNECTIONS true")
            for _ in range(POOL):
                _throw_away_if_cut()
        else:
            _execute("ALTER TABLE gone RENAME TO gateway_usage")

    def _administer(self, statement: str) -> None:
        found = connection.settings_dict
        options = {"host": found["HOST"], "port": found["PORT"] or None, "user": found["USER"]}
        with psycopg.connect(**options, password=found["PASSWORD"], dbname="postgres", autocommit=True) as line:
            line.execute(statement.format(found["NAME"]))


def _throw_away_if_cut() -> None:
    """One connection of the pool."""
    connection.close()
    with suppress(OperationalError):
        _execute("SELECT 1")
    connection.close()


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def database(transactional_db: None) -> Iterator[Database]:
    found = Database()
    yield found
    if found.gone:
        found.come_back()
    _throw_away_if_cut()  # this thread's own
    if connection.vendor == "postgresql":
        connection.close_pool()  # and what is left of others' in the pool
