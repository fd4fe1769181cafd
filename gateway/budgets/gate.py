"""Every call passes here: what it may cost is set aside before it is made; what it did cost is booked with its row."""

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from django.db import Error

from access.threads import in_thread
from gateway.budgets import leases
from gateway.budgets.clock import Clock
from gateway.budgets.credit import TRUSTED, Credit, Gone, Spent
from gateway.budgets.rules import Budgets, Rule
from gateway.budgets.words import refusal
from gateway.envelope import Problem
from gateway.gates import Elsewhere
from gateway.ledger.notes import Window
from gateway.ledger.record import Record
from gateway.metering import Meter
from gateway.models import Extent, Usage
from gateway.routing import price_of
from gateway.snapshot import ModelEntry, Snapshot

if TYPE_CHECKING:
    from gateway.accepted import Accepted

EVERY = 1.0
"""Seconds between two looks at what is idle."""
RENEWED, SWEPT = 5, 10
"""Every so many looks."""
AFTERWARDS = 10
"""Looks for which nothing is given back after the ledger was away: rows in the journal are still to be paid."""
logger = logging.getLogger(__name__)


class Needs(NamedTuple):
    """The most that a call will use."""

    tokens: int
    nano: int | None
    """10⁻⁹ USD; None: the model's price is not known."""

    def of(self, rule: Rule) -> int:
        return (self.nano or 0) if rule.in_money else self.tokens


class Refused(Exception):
    """`rule` does not let the call pass."""

    def __init__(self, rule: Rule, ends: float, left: int = 0, need: int = 0, *, priceless: str = "") -> None:
        """`left` of the budget, which ends at `ends`; `priceless`: the model without a known price."""
        super().__init__(rule.name)
        self.rule, self.ends, self.left, self.need, self.priceless = rule, ends, left, need, priceless


class Hold(NamedTuple):
    """What one call set aside of one window."""

    rule: Rule
    credit: Credit
    need: int
    """0: nothing; the budget only counts."""


class BudgetGate:
    def __init__(self, meter: Meter) -> None:
        self.clock = Clock()
        self.owner = uuid.uuid4().hex
        self._meter = meter
        self._credits: dict[tuple[int, str], Credit] = {}
        self._ended: list[Credit] = []
        """Of windows that are over; calls may still be under way."""
        self._opening: dict[tuple[int, str], asyncio.Task[Credit]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._wait = 0
        """Looks until something is given back again."""

    async def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if any(credit.leased for credit in (*self._credits.values(), *self._ended)):
            try:
                await in_thread(leases.release_all, self.owner)
            except Error:
                logger.warning("The budgets' leases could not be given back; they end by themselves")

    # --- before a call

    async def admit(self, accepted: "Accepted", snapshot: Snapshot) -> "Admitted | None":
        if not snapshot.budgets:
            return None
        admitted = Admitted(self.owner)
        try:
            callers = snapshot.budgets.of_caller(accepted.principal)
            needs = await self._hold_models(admitted, accepted, snapshot.budgets, callers)
            await self._hold(admitted.holds, callers, needs, accepted)
        except BaseException as error:
            admitted.undo()
            if isinstance(error, Refused):
                raise _told(error, self.clock.now()) from None
            if isinstance(error, Error):
                logger.warning("A budget could not be asked: %s", error)
                raise Problem("overloaded", "The budgets cannot be asked at the moment; try again.") from error
            raise
        accepted.paid_by = admitted if admitted.holds else None
        return accepted.paid_by

    async def _hold_models(
        self, admitted: "Admitted", accepted: "Accepted", budgets: Budgets, callers: Sequence[Rule]
    ) -> Needs:
        """Pass over the candidates whose own budgets are spent. The needs are those of the dearest that remains."""
        open_to, refusals, worst = [], [], Needs(0, 0)
        for entry in accepted.course.candidates:
            rules = budgets.of_model(entry.public_id, entry.connection_id)
            try:
                needs = self._needs(accepted, entry, [*rules, *callers])
                if rules:
                    await self._hold(admitted.holds, rules, needs, accepted)
            except Refused as refused:
                refusals.append(refused)
                continue
            open_to.append(entry)
            worst = Needs(max(worst.tokens, needs.tokens), max(worst.nano or 0, needs.nano or 0))
        if not open_to:
            raise _foremost(refusals)
        if refusals:
            accepted.keep_to(open_to)
        return worst

    def _needs(self, accepted: "Accepted", entry: ModelEntry, rules: Sequence[Rule]) -> Needs:
        """Raises Refused where a budget that stops could not tell what the call costs."""
        if not rules:
            return Needs(0, 0)
        usage, in_money = accepted.expected(entry), [rule for rule in rules if rule.in_money]
        tokens = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        needs = Needs(tokens, price_of(entry, usage) if in_money else 0)
        if needs.nano is None:
            now = self.clock.now()
            if stopping := [rule for rule in in_money if rule.binds(now) and not rule.switches]:
                raise Refused(stopping[0], now, priceless=entry.public_id)
        return needs

    async def _hold(self, holds: list[Hold], rules: Sequence[Rule], needs: Needs, accepted: "Accepted") -> None:
        """Of all these, or of none. Raises Refused, one that switches before one that stops."""
        begun, refusals = len(holds), []
        for rule in rules:
            try:
                holds.append(await self._held(rule, needs.of(rule), accepted))
            except Refused as refused:
                refusals.append(refused)
            except Gone:  # deleted since the snapshot was made
                self._credits.pop(rule.name, None)
        if refusals:
            _undo(holds[begun:])
            del holds[begun:]
            raise _foremost(refusals)

    async def _held(self, rule: Rule, need: int, accepted: "Accepted") -> Hold:
        now = self.clock.now()
        credit = self._credits.get(rule.name)
        if credit is None or not credit.starts <= now < credit.ends:
            credit = await self._open(rule, credit)
        if not rule.binds(now) or rule.entry.id in accepted.switched:
            need = 0
        if need and not credit.take(need):
            try:
                await credit.fetch(need)
            except Spent as spent:
                raise Refused(rule, credit.ends, spent.left, need) from None
        return Hold(rule, credit, need)

    async def _open(self, rule: Rule, former: Credit | None) -> Credit:
        """The window of now; all who wait for it share one request."""
        opening = self._opening.get(rule.name)
        if opening is None:
            opening = self._opening[rule.name] = asyncio.create_task(self._opened(rule, former))
            opening.add_done_callback(lambda _: self._opening.pop(rule.name))
        return await asyncio.shield(opening)

    async def _opened(self, rule: Rule, former: Credit | None) -> Credit:
        asked = time.time()
        opened = await in_thread(leases.open_window, *rule.name)
        if opened is None:
            raise Gone
        self.clock.learn(opened.now, asked)
        if former is not None and former.window == opened.window:  # our clock was ahead of the database's
            return former
        if former is not None:
            self._ended.append(former)
        credit = self._credits[rule.name] = Credit(opened, self.owner, self.clock)
        return credit

    # --- beside the calls

    async def _keep(self) -> None:
        """Give back what is idle, renew the rest, and sweep up after processes that have died."""
        looks = 0
        while True:
            await asyncio.sleep(EVERY)
            looks += 1
            try:
                await self._look(renew=looks % RENEWED == 0, sweep=looks % SWEPT == 0)
            except Error as error:
                logger.warning("The budgets' leases wait for the database: %s", error)
            except Exception:
                logger.exception("The budgets' leases could not be looked after")

    async def _look(self, *, renew: bool, sweep: bool) -> None:
        held = [credit for credit in (*self._credits.values(), *self._ended) if credit.leased]
        if self._meter.away:
            self._wait = AFTERWARDS
        self._wait = max(0, self._wait - 1)
        for credit in held if not self._wait else ():
            await credit.tidy(self._meter.written)
        if renew and held:
            await self._renew()
        if sweep and self._credits:
            await in_thread(leases.sweep)
        self._forget()

    async def _renew(self) -> None:
        asked, until = time.time(), time.monotonic() + TRUSTED
        held = [credit for credit in (*self._credits.values(), *self._ended) if credit.leased]
        found = await in_thread(leases.renew, self.owner)
        for credit in held:
            if told := found.get(credit.window):
                self.clock.learn(told, asked)
                credit.renewed(until)
            else:
                credit.lost()

    def _forget(self) -> None:
        """Windows that are over and hold nothing."""
        now = self.clock.now()
        self._ended = [credit for credit in self._ended if credit.leased or credit.used]
        over = [name for name, one in self._credits.items() if one.ends <= now and not (one.leased or one.used)]
        for name in over:
            del self._credits[name]


class Admitted:
    """What one call set aside."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self.holds: list[Hold] = []

    @property
    def headers(self) -> Mapping[str, str]:
        return {}

    def undo(self) -> None:
        _undo(self.holds)

    def windows(self, record: Record) -> list[Window]:
        """On which it is to be booked should nobody be left to settle it."""
        return [
            Window(credit.window, rule.in_money, self._owner if need else "")
            for rule, credit, need in self.holds
            if concerns(rule, record)
        ]

    def settle(self, record: Record) -> None:
        """Note in the record which windows it is to be booked on, and whose lease pays."""
        tokens = (record.prompt_tokens or 0) + (record.completion_tokens or 0)
        for rule, credit, need in self.holds:
            cost = record.cost if rule.in_money else tokens
            if not concerns(rule, record) or (cost is None and record.state == Usage.State.ERROR):
                cost = 0  # who fails and tells no usage sends no bill
            credit.settle(need, (cost or 0) if need else 0)
            if cost != 0:
                record.budgets.append(credit.window)
                if need:
                    record.leased[credit.window] = self._owner


def concerns(rule: Rule, record: Record) -> bool:
    """Whether the call went where the budget is."""
    scope, subject = rule.entry.scope, rule.entry.subject
    if scope == Extent.MODEL:
        return record.model == subject
    return scope != Extent.CONNECTION or str(record.connection_id) == subject


def _undo(holds: Sequence[Hold]) -> None:
    for hold in holds:
        hold.credit.settle(hold.need, 0)


def _foremost(refusals: Sequence[Refused]) -> Refused:
    """A budget that sends calls elsewhere comes before one that stops them: the other place may cost less."""
    return next((one for one in refusals if one.rule.switches), refusals[0])


def _told(refused: Refused, now: float) -> Problem | Elsewhere:
    rule = refused.rule
    message = refusal(rule, refused.ends, refused.left, refused.need, refused.priceless)
    problem = Problem("budget_exceeded", message, retry_after=max(1.0, refused.ends - now))
    return Elsewhere(rule.entry.switch_to, rule.entry.id, problem) if rule.switches else problem
