"""On PostgreSQL the ledger lies in months: made ahead, dropped whole."""

from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.db import IntegrityError, connection
from django.utils import timezone

from gateway.ledger import partitions
from gateway.metering import commit
from gateway.models import Attempt, Usage
from tests.gateway.test_metering import record, tried

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has partitions"),
]
MARCH = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_old_months(db):
    """Those that a test committed."""
    yield
    partitions.drop_months(partitions.month_of(timezone.now()))


def where(row):
    """The table that a row or its attempt really lies in."""
    with connection.cursor() as cursor:
        table = row._meta.db_table
        cursor.execute(f"SELECT tableoid::regclass::text FROM {table} WHERE id = %s", [row.pk])
        return cursor.fetchone()[0]


def written(**columns):
    made = record(**columns)
    commit([made])
    return Usage.objects.get(pk=made.id)


def test_a_row_lies_in_its_month_and_its_attempts_beside_it():
    row = written(attempts=[tried(1)])

    assert where(row) == f"gateway_usage_{timezone.now():%Y_%m}"
    assert where(Attempt.objects.get()) == f"gateway_attempt_{timezone.now():%Y_%m}"


def test_the_next_two_months_are_there():
    month = partitions.after(partitions.month_of(timezone.now()))
    for start in (month, partitions.after(month)):
        assert where(written(at=start + timedelta(days=3))) == f"gateway_usage_{start:%Y_%m}"


def test_a_row_without_a_month_is_kept_and_moves_into_it_when_it_is_made(monkeypatch):
    row = written(at=MARCH + timedelta(hours=5), attempts=[tried(1)])
    assert where(row) == "gateway_usage_default"

    monkeypatch.setattr("django.utils.timezone.now", lambda: MARCH + timedelta(days=3))
    partitions.make_months()
    partitions.make_months()

    assert where(row) == "gateway_usage_2024_03"
    assert where(row.attempts.get()) == "gateway_attempt_2024_03"
    assert where(written(at=MARCH - timedelta(microseconds=1))) == "gateway_usage_default"
    assert where(written(at=partitions.after(MARCH))) == "gateway_usage_2024_04"


def test_what_is_old_goes_by_the_month(monkeypatch):
    monkeypatch.setattr("django.utils.timezone.now", lambda: MARCH)
    partitions.make_months()
    rows = [written(at=MARCH + timedelta(days=days), attempts=[tried(1)]) for days in (0, 30, 31, 40)]

    assert partitions.drop_months(MARCH + timedelta(days=30)) == []
    assert partitions.drop_months(partitions.after(MARCH)) == ["gateway_attempt_2024_03", "gateway_usage_2024_03"]

    assert set(Usage.objects.values_list("pk", flat=True)) == {row.pk for row in rows[2:]}
    assert Attempt.objects.count() == 2


def test_a_row_that_is_there_stays_as_it_is_in_its_month():
    made = record(at=timezone.now() - timedelta(days=1))
    commit([made])
    made.cost = 1
    commit([made])

    assert Usage.objects.get(pk=made.id).cost is None


def test_a_claim_of_a_job_leaves_one_row_whatever_its_month():
    commit([record(request_id="req_claim1", source="generation")])

    with pytest.raises(IntegrityError):
        commit([record(request_id="req_claim1", source="generation", at=MARCH)])
    assert Usage.objects.count() == 1


def test_rows_of_a_whole_table_are_taken_along(transactional_db):
    """The migration, run once more on tables as they were before it."""
    made = [record(at=MARCH), record(attempts=[tried(1), tried(2)])]
    commit(made)
    for table in ("gateway_usage", "gateway_attempt"):
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE whole (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
            cursor.execute(f"INSERT INTO whole SELECT * FROM {table}")
            cursor.execute(f"DROP TABLE {table}")
            cursor.execute(f"ALTER TABLE whole RENAME TO {table}")

    with connection.schema_editor() as editor:
        import_module("gateway.migrations.0007_months").part(apps, editor)

    rows = {row.pk: row for row in Usage.objects.all()}
    assert {where(rows[made[0].id]), where(rows[made[1].id])} == {
        "gateway_usage_2024_03",
        f"gateway_usage_{timezone.now():%Y_%m}",
    }
    assert [attempt.number for attempt in rows[made[1].id].attempts.all()] == [1, 2]
