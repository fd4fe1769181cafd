"""What one process holds of one window: the calls it lets through are paid from it, without asking the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from access.threads import in_thread
from gateway.budgets import leases
from gateway.budgets.clock import Clock
from gateway.budgets.leases import LEASE, Granted, Opened

TRUSTED = LEASE.total_seconds() * 0.8
"""Seconds after a renewal for which a lease is spent from; a process that froze for longer asks first."""
CALLS_AHEAD = 4
"""How many calls like the first a lease is meant for; more as they come faster."""

Written = Callable[[], Awaitable[None]]
"""Waits until the rows of all calls that have ended so far are in the database."""


class Spent(Exception):
    """Less is left of a budget than a call may cost."""

    def __init__(self, left: int) -> None:
        super().__init__(left)
        self.left = left


class Gone(Exception):
    """The budget is not there any more."""


class Credit:
    """One window's lease. `amount` never exceeds what the database still knows of it."""

    def __init__(self, opened: Opened, owner: str, clock: Clock) -> None:
        self.window, self.starts, self.ends = opened.window, opened.starts, opened.ends
        self._owner, self._clock = owner, clock
        self.amount = 0
        """Granted, less what the calls that have ended cost."""
        self.used = 0
        """Set aside for the calls under way."""
        self.least = 0
        """What was free all the time since the last look, so that nobody needs it."""
        self.leased = False
        self._trusted_until = 0.0
        self._ahead = 0
        self._waiting: list[tuple[int, asyncio.Future[int | None]]] = []
        self._fetching: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    @property
    def free(self) -> int:
        return self.amount - self.used

    def take(self, need: int) -> bool:
        """Set `need` aside if it is at hand."""
        left = self.amount - self.used - need
        if left < 0 or self._fetching is not None or time.monotonic() > self._trusted_until:
            return False
        self.used += need
        if left < self.least:
            self.least = left
        return True

    async def fetch(self, need: int) -> None:
        """Set `need` aside, with more credit; all who wait share one request. Raises Spent, Gone and DatabaseError."""
        waiting: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((need, waiting))
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        try:
            left = await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None and waiting.result() is None:
                self.used -= need  # served in the very moment in which the caller left
            raise
        if left is not None:
            raise Spent(left)

    async def _fetch(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._serve([one for one in group if not one[1].done()])
        finally:
            self._fetching = None

    async def _serve(self, group: list[tuple[int, "asyncio.Future[int | None]"]]) -> None:
        try:
            granted = await self._acquire([need for need, _ in group])
        except Exception as error:
            for _, waiting in group:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for need, waiting in group:
            if waiting.done():  # whoever waited has left
                continue
            enough = self.free >= need
            self.used += need if enough else 0
            waiting.set_result(None if enough else granted.left)
        self.least = min(self.least, self.free)

    async def _acquire(self, needs: list[int]) -> Granted:
        async with self._changing:
            self._ahead = max(2 * self._ahead, CALLS_AHEAD * needs[0] if needs else 0)
            asked, until = time.time(), time.monotonic() + TRUSTED
            granted = await in_thread(leases.acquire, self.window, self._owner, needs, self.free, self._ahead)
            if granted is None:
                raise Gone
            self._clock.learn(granted.now, asked)
            if granted.amount:
                self.amount += granted.amount
                self.leased, self._trusted_until = True, until
            return granted

    def settle(self, need: int, cost: int) -> None:
        """A call has ended: what it cost will be booked, and the rest is free again."""
        self.used -= need
        self.amount -= cost

    def renewed(self, until: float) -> None:
        self._trusted_until = until

    def lost(self) -> None:
        """Somebody took us for dead: what calls under way need has to be asked for again with the next one."""
        self.amount, self.leased = 0, False

    async def tidy(self, written: Written) -> None:
        """Give back what nobody needed since the last time; everything, when no call is under way."""
        unneeded, self.least = min(self.least, self.free), self.free
        if not self.leased or (unneeded <= 0 and self.used):
            return
        self._ahead //= 2
        async with self._changing:
            if self.used:
                await self._give_back(min(unneeded, self.free))
            elif unneeded >= self.free:
                await self._release(written)

    async def _give_back(self, amount: int) -> None:
        if amount > 0:
            self.amount -= amount
            await in_thread(leases.give_back, self.window, self._owner, amount)

    async def _release(self, written: Written) -> None:
        """With the last call booked; one that begins meanwhile keeps the lease."""
        before = self.amount
        await written()
        if self.used or self.amount != before or self._fetching is not None:
            return
        self.amount, self.leased, self._ahead = 0, False, 0
        await in_thread(leases.release, self.window, self._owner)
