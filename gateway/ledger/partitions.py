"""On PostgreSQL the ledger lies in months, so that old ones go at once. What has no month yet lies in `…_default`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from gateway.models import Attempt, Usage

TABLES = (Usage._meta.db_table, Attempt._meta.db_table)
AHEAD = 2
"""Months that are there before they begin."""
LOCK = 4_719_003
"""Of whoever makes months; any number that nobody else takes."""


def make_months() -> None:
    """The month at hand and those to come. Does nothing on databases that have no partitions."""
    if connection.vendor != "postgresql":
        return
    month = month_of(timezone.now())
    for _ in range(AHEAD + 1):
        for table in TABLES:
            _make(table, month)
        month = after(month)


def month_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def after(month: datetime) -> datetime:
    return month_of(month + timedelta(days=32))


def _make(table: str, month: datetime) -> None:
    """What came before its month was made moves into it."""
    name = f"{table}_{month:%Y_%m}"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if _there(cursor, name):
            return
        bounds = [month, after(month)]
        cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
        cursor.execute(f"LOCK TABLE {table}_default IN SHARE ROW EXCLUSIVE MODE")
        moved = f"DELETE FROM {table}_default WHERE at >= %s AND at < %s RETURNING *"  # noqa: S608 - our own names
        cursor.execute(f"WITH moved AS ({moved}) INSERT INTO {name} SELECT * FROM moved", bounds)  # noqa: S608
        limits = "FROM ('{}') TO ('{}')".format(*(bound.isoformat() for bound in bounds))
        cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {limits}")


def _there(cursor: CursorWrapper, name: str) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
    return bool(cursor.fetchone()[0])


def drop_months(before: datetime) -> list[str]:
    """Drop the months that ended by then. Returns their names."""
    if connection.vendor != "postgresql":
        return []
    old = [name for name, end in _months() if end <= before]
    for name in old:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {name}")
    return old


def _months() -> Iterator[tuple[str, datetime]]:
    """The months there are, with their ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent::regclass::text = ANY(%s)", [list(TABLES)]
        )
        names = [name for (name,) in cursor.fetchall()]
    for name in sorted(names):
        if not name.endswith("_default"):
            yield name, after(datetime.strptime(name[-7:], "%Y_%m").replace(tzinfo=UTC))
