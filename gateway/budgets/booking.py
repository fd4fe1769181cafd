"""What calls really cost is booked on their windows in the transaction that writes their rows."""

from collections.abc import Iterable
from sqlite3 import Cursor
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from django.db import connection

from gateway.ledger.statements import Statement
from gateway.models import Budget, BudgetLease, BudgetWindow

if TYPE_CHECKING:
    from gateway.ledger.record import Record

WINDOW, LEASE, BUDGET = (model._meta.db_table for model in (BudgetWindow, BudgetLease, Budget))


class Debit(NamedTuple):
    """What some calls used of one window, paid from one lease."""

    window: int
    owner: str
    """Empty: no lease pays."""
    nano: int
    """10⁻⁹ USD."""
    tokens: int
    unpriced: int
    """Calls whose cost is not known."""


def book(records: Iterable["Record"]) -> None:
    """In the caller's transaction.

    The windows are locked in one order, so that no two processes wait for each other, and before their leases, so
    that what a lease is found to have is what it has.
    """
    records = [record for record in records if record.budgets]
    if not records:
        return
    debits = sorted(_debits(records))
    if connection.vendor == "postgresql":
        AT_ONCE.run(msgspec.json.encode(debits))
        return
    with connection.wrap_database_errors:
        cursor = connection.connection.cursor()
        for debit in debits:
            _book(cursor, debit)


def _debits(records: list["Record"]) -> list[Debit]:
    """One for each window and lease."""
    sums: dict[tuple[int, str], tuple[int, int, int]] = {}
    for record in records:
        used = (record.prompt_tokens or 0) + (record.completion_tokens or 0)
        for window in record.budgets:
            place = window, record.leased.get(window, "")
            nano, tokens, unpriced = sums.get(place, (0, 0, 0))
            sums[place] = nano + (record.cost or 0), tokens + used, unpriced + (record.cost is None)
    return [Debit(*place, *found) for place, found in sums.items()]


# --- PostgreSQL: one statement, because every process waits for the windows until the transaction ends


def _at_once() -> str:
    """Takes the debits as one JSON array of arrays. It may cost more than its lease has, which then is empty."""
    return f"""
        WITH debit AS MATERIALIZED (
            SELECT {WINDOW}.id AS window_id, value->>1 AS owner,
                (value->>CASE WHEN what = 'money' THEN 2 ELSE 3 END)::bigint AS amount,
                CASE WHEN what = 'money' THEN (value->>4)::int ELSE 0 END AS unpriced
            FROM jsonb_array_elements($1::jsonb) JOIN {WINDOW} ON {WINDOW}.id = (value->>0)::bigint
            JOIN {BUDGET} ON {BUDGET}.id = budget_id
        ), held AS MATERIALIZED (
            SELECT id FROM {WINDOW} WHERE id IN (SELECT window_id FROM debit) ORDER BY id FOR UPDATE
        ), lease AS MATERIALIZED (
            SELECT {LEASE}.id, {LEASE}.window_id, LEAST({LEASE}.amount, debit.amount) AS paid
            FROM {LEASE} JOIN debit ON debit.window_id = {LEASE}.window_id AND debit.owner = {LEASE}.owner
            WHERE {LEASE}.window_id IN (SELECT id FROM held) FOR UPDATE OF {LEASE}
        ), paying AS (
            UPDATE {LEASE} SET amount = {LEASE}.amount - lease.paid FROM lease WHERE {LEASE}.id = lease.id
        ), total AS (
            SELECT window_id, sum(amount) AS amount, sum(unpriced) AS unpriced,
                (SELECT COALESCE(sum(paid), 0) FROM lease WHERE lease.window_id = debit.window_id) AS paid
            FROM debit GROUP BY window_id
        )
        UPDATE {WINDOW} SET spent = spent + total.amount, unknown = unknown + total.unpriced,
            reserved = reserved - total.paid
        FROM total WHERE {WINDOW}.id = total.window_id AND {WINDOW}.id IN (SELECT id FROM held)
    """  # noqa: S608 - names of our own tables only


AT_ONCE = Statement("booking", _at_once)


# --- SQLite, where statements cost next to nothing, but Django's cursors do

KIND = f"SELECT what FROM {WINDOW} JOIN {BUDGET} ON {BUDGET}.id = budget_id WHERE {WINDOW}.id = ?"  # noqa: S608 - our own names
HELD = f"SELECT amount FROM {LEASE} WHERE window_id = ? AND owner = ?"  # noqa: S608 - likewise
SPEND = f"UPDATE {WINDOW} SET spent = spent + ?, unknown = unknown + ?, reserved = reserved - ? WHERE id = ?"  # noqa: S608
PAY = f"UPDATE {LEASE} SET amount = amount - ? WHERE window_id = ? AND owner = ?"  # noqa: S608 - likewise


def _book(cursor: Cursor, debit: Debit) -> None:
    kind = cursor.execute(KIND, [debit.window]).fetchone()
    if kind is None:  # deleted with its budget
        return
    in_money = kind[0] == Budget.What.MONEY
    amount, unpriced = (debit.nano, debit.unpriced) if in_money else (debit.tokens, 0)
    held = cursor.execute(HELD, [debit.window, debit.owner]).fetchone()
    paid = min(held[0], amount) if held is not None else 0  # without a lease: its owner was taken for dead
    cursor.execute(SPEND, [amount, unpriced, paid, debit.window])
    if paid:
        cursor.execute(PAY, [paid, debit.window, debit.owner])
