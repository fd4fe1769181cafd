"""How rows get into the ledger: a whole group at once, and a row that is there already stays as it is."""

import json
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import IntegrityError, connection, transaction
from django.db.models import CharField, DateTimeField, Field, JSONField, UUIDField

from gateway.ledger.statements import Statement
from gateway.models import Usage

if TYPE_CHECKING:
    from gateway.ledger.record import Record

FIELDS: "list[Field[Any, Any]]" = list(Usage._meta.concrete_fields)
COLUMNS = ", ".join(f'"{field.column}"' for field in FIELDS)
TABLE = Usage._meta.db_table
_values: Callable[["Record"], tuple[Any, ...]] = attrgetter(*(field.attname for field in FIELDS))


def insert(records: list["Record"]) -> list["Record"]:
    """Write the rows, in the transaction at hand or in one of their own. Returns those that were not there yet."""
    if connection.vendor == "postgresql":
        _refuse_second([record for record in records if record.once])
        return _insert_as_json(records)
    with transaction.atomic(savepoint=False), connection.wrap_database_errors:
        cursor = connection.connection.cursor()
        return [record for record in records if cursor.execute(_with_places(), _for_sqlite(record)).rowcount]


# --- PostgreSQL: one prepared statement with one parameter; measured at a third of the cost of a value each


def _insert_as_json(records: list["Record"]) -> list["Record"]:
    result = STATEMENT.run(msgspec.json.encode([*map(_values, records)]))
    if result.ntuples == len(records):
        return records
    found = {str(record.id).encode(): record for record in records}
    return [found[result.get_value(row, 0) or b""] for row in range(result.ntuples)]


def _refuse_second(records: list["Record"]) -> None:
    """Months have no index in common, so a lock, until the transaction ends, makes such a request id unique in them."""
    if not records:
        return
    ids = sorted(record.request_id for record in records)
    with connection.cursor() as cursor:
        for request_id in ids:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [request_id])
    if Usage.objects.filter(request_id__in=ids).exclude(pk__in=[record.id for record in records]).exists():
        raise IntegrityError("Another row was written for the same claim of a job.")


def _as_json() -> str:
    """The statement that takes all rows as one JSON array of arrays."""
    values = ", ".join(_cast(place, field) for place, field in enumerate(FIELDS))
    source = f"SELECT {values} FROM jsonb_array_elements($1::jsonb) AS element(value)"  # noqa: S608 - our own names
    return f'INSERT INTO {TABLE} ({COLUMNS}) {source} ON CONFLICT ("id", "at") DO NOTHING RETURNING "id"'


STATEMENT = Statement("ledger", _as_json)


def _cast(place: int, field: "Field[Any, Any]") -> str:
    """Texts that are too long are cut by their type."""
    if isinstance(field, JSONField):
        return f"value->{place}"
    return f"(value->>{place})::{field.db_type(connection)}"


# --- SQLite


@cache
def _with_places() -> str:
    places = ", ".join(_place(field) for field in FIELDS)
    return f'INSERT INTO {TABLE} ({COLUMNS}) VALUES ({places}) ON CONFLICT ("id") DO NOTHING'  # noqa: S608 - our own names


def _place(field: "Field[Any, Any]") -> str:
    return f"substr(?, 1, {field.max_length})" if isinstance(field, CharField) else "?"


def _for_sqlite(record: "Record") -> list[Any]:
    values = list(_values(record))
    for place, convert in CONVERTED:
        values[place] = convert(values[place])
    return values


CONVERSIONS: dict[type[Any], Callable[[Any], Any]] = {
    UUIDField: lambda value: value and value.hex,
    DateTimeField: lambda value: value.replace(tzinfo=None).isoformat(" "),
    JSONField: lambda value: json.dumps(value) if value else "[]",
}
CONVERTED = [(place, CONVERSIONS[type(field)]) for place, field in enumerate(FIELDS) if type(field) in CONVERSIONS]
"""Places of the columns that SQLite does not take as they are."""
