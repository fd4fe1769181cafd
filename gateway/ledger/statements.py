"""Statements for PostgreSQL that each connection prepares once, run without costly cursors."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.db import connection

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGconn, PGresult


class Statement:
    def __init__(self, name: str, text: Callable[[], str]) -> None:
        self._name, self._text = name.encode(), text
        self._known: WeakKeyDictionary[Connection[Any], bool] = WeakKeyDictionary()
        """Connections that have prepared it."""

    def run(self, *parameters: bytes) -> "PGresult":
        """In the transaction at hand, or in one of its own. Raises Django's DatabaseError."""
        with connection.wrap_database_errors:
            return _checked(self._line().exec_prepared(self._name, parameters))

    def _line(self) -> "PGconn":
        """The connection of this thread, in a transaction if one was asked for."""
        from psycopg.pq import TransactionStatus  # noqa: PLC0415 - as in `_checked`

        connection.ensure_connection()
        raw: Connection[Any] = connection.connection
        line = raw.pgconn
        if raw not in self._known:
            _checked(line.prepare(self._name, self._text().encode()))
            self._known[raw] = True
        if not raw.autocommit and line.transaction_status == TransactionStatus.IDLE:
            _checked(line.exec_(b"BEGIN"))
        return line


def _checked(result: "PGresult") -> "PGresult":
    from psycopg import OperationalError  # noqa: PLC0415 - 8 MB of which only PostgreSQL has any use
    from psycopg.errors import error_from_result  # noqa: PLC0415
    from psycopg.pq import DiagnosticField, ExecStatus  # noqa: PLC0415

    if result.status in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
        return result
    if result.error_field(DiagnosticField.SQLSTATE) is None:  # not the server said so: the line is cut
        raise OperationalError(result.get_error_message())
    raise error_from_result(result)
