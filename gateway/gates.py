"""What may refuse a call before it is made, and wants to know how it ended: limits and budgets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from gateway.envelope import Problem

if TYPE_CHECKING:
    from gateway.accepted import Accepted
    from gateway.ledger.record import Record
    from gateway.snapshot import Snapshot


class Elsewhere(Exception):
    """The call is to go to another model or route instead; if that cannot be, it is refused with `problem`."""

    def __init__(self, to: str, budget: int, problem: Problem) -> None:
        super().__init__(to)
        self.to, self.budget, self.problem = to, budget, problem


class Admission(Protocol):
    """A call that was let through."""

    @property
    def headers(self) -> Mapping[str, str]:
        """For the answer."""

    def settle(self, record: "Record") -> None:
        """The call has ended and is priced: give back what it did not use. Called once, whatever came of it."""


class Gate(Protocol):
    async def admit(self, accepted: "Accepted", snapshot: "Snapshot") -> Admission | None:
        """Let the call through, or raise Problem or Elsewhere. None: nothing here is about it."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...
