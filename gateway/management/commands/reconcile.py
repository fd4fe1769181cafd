"""`manage.py reconcile`: do the ledger and what is derived from it agree?"""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from gateway.ledger import adding, reconcile
from gateway.ledger.reconcile import Difference

HEAD = Difference("book", "where", "figure", "by the calls", "in the book")
WIDEST = 100


class Command(BaseCommand):
    help = "Compare the ledger with its sums, its attempts and the budgets. Exit code 1: they differ, and where."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="since", help="first day or moment (ISO 8601, UTC); default: all that is kept"
        )
        parser.add_argument("--to", dest="until", help="day or moment before which to stop; default: now")
        parser.add_argument("--fix", action="store_true", help="make the sums of this time anew, then compare again")

    def handle(self, *args: Any, since: str | None, until: str | None, fix: bool, **options: Any) -> None:
        begin = _moment(since) if since else adding.kept_from()
        end = _moment(until) if until else timezone.now()
        found = list(reconcile.differences(begin, end))
        self._show(found)
        if found and fix:
            reconcile.mend(begin, end)
            found = list(reconcile.differences(begin, end))
            self.stdout.write("The sums were made anew.")
            self._show(found)
        if found:
            sys.exit(1)

    def _show(self, found: list[Difference]) -> None:
        if not found:
            self.stdout.write("The books agree.")
            return
        self.stdout.writelines(_table([HEAD, *found]))
        self.stdout.write(f"{len(found)} difference{'s' if len(found) > 1 else ''}.")


def _table(rows: list[Difference]) -> Iterable[str]:
    cells = [[str(cell)[:WIDEST] for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is no day or moment like 2026-11-20 or 2026-11-20T14:00Z.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
