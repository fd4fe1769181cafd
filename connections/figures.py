"""Figures that the pages show but that another app counts; that app registers a ledger when it starts."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Totals:
    """Over all connections. None: not known."""

    requests: int | None = None
    """In the last 24 hours."""
    change: int | None = None
    """In per cent, against the 24 hours before."""
    slow_ms: int | None = None
    """The latency that 95 % of the last 24 hours' calls stayed under."""
    spend: int | None = None
    """This month, in 10⁻⁹ USD."""


class Ledger(Protocol):
    def totals(self) -> Totals: ...

    def spend(self) -> dict[UUID, int | None]:
        """This month's spend by connection in 10⁻⁹ USD; None: calls were made, but no price is known."""

    def waiting_jobs(self, public_ids: Collection[str]) -> int:
        """Accepted jobs that have not ended and ask one of these models."""


class NoLedger:
    def totals(self) -> Totals:
        return Totals()

    def spend(self) -> dict[UUID, int | None]:
        return {}

    def waiting_jobs(self, public_ids: Collection[str]) -> int:
        return 0


_ledger: Ledger = NoLedger()


def register(ledger: Ledger) -> None:
    global _ledger
    _ledger = ledger


def ledger() -> Ledger:
    return _ledger
