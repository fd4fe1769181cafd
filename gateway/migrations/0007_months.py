"""On PostgreSQL the ledger's tables are made anew in months, with all their rows. On SQLite each stays one table."""

from datetime import UTC, datetime, timedelta

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

KEYS = {
    "gateway_usage": ["ADD PRIMARY KEY (id, at)", "ADD UNIQUE (request_id, at)"],
    "gateway_attempt": ["ADD PRIMARY KEY (id, at)", "ADD CONSTRAINT attempt_once UNIQUE (usage_id, number, at)"],
}
INDEXES = ["(at, id)", "(user_id, at)", "(connection_id, at)"]


def date_attempts(apps, schema_editor):
    rows = apps.get_model("gateway", "Usage").objects.filter(pk=models.OuterRef("usage_id")).values("at")
    apps.get_model("gateway", "Attempt").objects.update(at=models.Subquery(rows))


def part(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SELECT min(at) FROM gateway_usage")
        months = list(_months(cursor.fetchone()[0] or datetime.now(UTC)))
        for table, keys in KEYS.items():
            _part(cursor, table, months, keys)
        for columns in INDEXES:
            cursor.execute(f"CREATE INDEX ON gateway_usage {columns}")


def _part(cursor, table, months, keys):
    like = f"LIKE {table}_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
    cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_whole")
    cursor.execute(f"CREATE TABLE {table} ({like}) PARTITION BY RANGE (at)")
    cursor.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    for start, end in months:
        bounds = f"FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
        cursor.execute(f"CREATE TABLE {table}_{start:%Y_%m} PARTITION OF {table} FOR VALUES {bounds}")
    cursor.execute(f"INSERT INTO {table} SELECT * FROM {table}_whole")  # noqa: S608 - our own names
    cursor.execute(f"DROP TABLE {table}_whole")
    for key in keys:
        cursor.execute(f"ALTER TABLE {table} {key}")


def _months(first):
    """From the first row's to the one after next."""
    start, last = (
        first.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        datetime.now(UTC) + timedelta(days=62),
    )
    while start <= last:
        end = (start + timedelta(days=32)).replace(day=1)
        yield start, end
        start = end


class Migration(migrations.Migration):
    dependencies = [
        ("gateway", "0006_budgets"),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="at",
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
        migrations.RunPython(date_attempts, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="attempt",
            name="usage",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="attempts",
                to="gateway.usage",
            ),
        ),
        migrations.RunPython(part, migrations.RunPython.noop),
    ]
