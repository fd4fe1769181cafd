"""What one process holds of the limits, counted in Valkey already: the usual call takes of it without asking.

Of requests and tokens these are units ahead, of parallel calls the places of calls that have ended. It is held only
while plenty is left, and what nobody needed goes back.
"""

import math
from collections.abc import Sequence
from random import getrandbits
from time import monotonic
from typing import NamedTuple

import msgspec

from gateway.limits.rules import Rule

SHARE = 100
"""Of what is left, a process holds one part in so many."""
PLACES_SHARE = 10
"""Of the free places likewise, while at least half of them are free."""
AHEAD = 0.25
"""Seconds for which units are asked ahead."""
MEASURED = 0.05
"""Seconds for which use is watched at least before it is taken for a pace."""
KEPT = 10.0
"""Seconds after which a place is not handed on: its lease has to last for the longest call."""
FORGOTTEN = 2.0
"""Seconds after which a rule that nobody asks about is not looked at any more."""

Told = tuple[str, str, int, int, int | str]
"""To be settled in Valkey: key, what, amount, microseconds of its window, and the units used beyond those that were
taken (fewer: negative), or the place that is given back."""
Asked = tuple[str, str, int, int, int | str, int, int]
"""To be taken there: the same with the units or the place, how many units this process would hold besides, and how many
it holds."""


class Place(NamedTuple):
    """Of one parallel call."""

    lease: str
    at: float
    """When it was taken."""


class Credit:
    """Of one rule."""

    __slots__ = ("amount", "asked_at", "current", "known", "least", "rule")

    def __init__(self, rule: Rule, now: float) -> None:
        self.rule = rule
        self.amount = 0
        """What may be taken without asking."""
        self.least = 0
        """What was there all the time since the last look, so that nobody needs it."""
        self.known = 0
        """What is left besides, as Valkey told last."""
        self.current = True
        """Whether its rule still stands; what comes back later goes to Valkey."""
        self.asked_at = now

    def is_of(self, rule: Rule) -> bool:
        """Each snapshot has new objects for the same rules."""
        if self.rule != rule:
            return False
        self.rule = rule
        return True

    def about(self, what: int | str) -> Told:
        rule = self.rule
        return rule.name, rule.what, rule.amount, int(rule.seconds * 1e6), what


class Units(Credit):
    """Requests or tokens."""

    __slots__ = ("_pending", "_supplied", "_wanted")
    free = None

    def __init__(self, rule: Rule, now: float) -> None:
        super().__init__(rule, now)
        self._wanted = 0
        self._pending = 0
        """Of it, what Valkey is being asked for."""
        self._supplied = 0
        """What there was to use since `asked_at`."""

    def ask(self, cost: int, now: float) -> Asked:
        """For a call, and for those of the next moment if they come at the pace of the last one."""
        elapsed, self._supplied = now - self.asked_at, self._supplied + cost
        if elapsed >= MEASURED:
            self._wanted = int((self._supplied - self.amount) * AHEAD / elapsed)
            self._supplied, self.asked_at = self.amount, now
        held = self.amount + self._pending
        self._pending = max(self._pending, self._wanted - self.amount)
        return *self.about(cost), self._wanted, held

    def answered(self, asked: Asked) -> None:
        """Or not, whatever the reason."""
        *_, wanted, held = asked
        self._pending -= max(0, wanted - held)

    def add(self, granted: int) -> None:
        if self.current:
            self.amount += granted
            self._supplied += granted

    def correct(self, more: int) -> int:
        """A call used so much more than it took, or less. What Valkey has to hear of it."""
        if not self.current:
            return more
        left = self.amount - more
        self.amount = max(0, min(left, (self.known + left) // SHARE))
        self.least = min(self.least, self.amount)
        return self._put_down(self.amount - left)

    def give_back(self, amount: int) -> list[Told]:
        self.amount -= amount
        self.least = self.amount
        return [self.about(self._put_down(-amount))] if amount else []

    def tidy(self, _oldest: float) -> list[Told]:
        return self.give_back(min(self.least, self.amount))

    def leave(self) -> list[Told]:
        """Its amount was changed: what was counted by the former one counts for nothing by the new one."""
        self.current, self.amount = False, 0
        return []

    def _put_down(self, told: int) -> int:
        self.known = min(self.known - told, self.rule.amount)
        self._supplied += told
        return told


class Places(Credit):
    """Of parallel calls."""

    __slots__ = ("free",)

    def __init__(self, rule: Rule, now: float) -> None:
        super().__init__(rule, now)
        self.free: list[Place] = []
        """As many as `amount`."""

    def ask(self, lease: str, now: float) -> Asked:
        """One that is held already begins anew."""
        self.asked_at = now
        return *self.about(lease), 0, 0

    def spare(self) -> Place | None:
        if not self.free:
            return None
        self.amount -= 1
        self.least = min(self.least, self.amount)
        return self.free.pop()

    def end(self, place: Place, oldest: float) -> list[Told]:
        """A call has ended. Its place is kept for the next one, or given back."""
        plenty = 2 * self.known >= self.rule.amount and self.amount < self.known // PLACES_SHARE
        if plenty and self.current and place.at >= oldest:
            self.free.append(place)
            self.amount += 1
            return []
        self.known += 1
        return [self.about(place.lease)]

    def give_back(self, amount: int) -> list[Told]:
        """Those first that were idle for longest."""
        leaving = self.free[:amount]
        del self.free[:amount]
        self.amount = self.least = len(self.free)
        self.known += len(leaving)
        return [self.about(place.lease) for place in leaving]

    def tidy(self, oldest: float) -> list[Told]:
        if any(place.at < oldest for place in self.free):
            return self.give_back(self.amount)
        return self.give_back(min(self.least, self.amount))

    def leave(self) -> list[Told]:
        self.current = False
        return self.give_back(self.amount)


class Taken(msgspec.Struct):
    """What one call took of its limits."""

    rules: Sequence[Rule]
    costs: Sequence[int]
    remaining: Sequence[int]
    credits: Sequence[Units | Places] = ()
    places: Sequence[Place] = ()
    """Of the rules about parallel calls, in their order."""
    local: str = ""
    """Its lease, where this process counted alone."""


class Asking(NamedTuple):
    """A call for which Valkey is asked, about all its rules."""

    rules: Sequence[Rule]
    costs: Sequence[int]
    credits: Sequence[Units | Places]
    asked: Sequence[Asked]
    spared: Sequence[tuple[Places, Place]]
    """Places that were held already."""


class Held:
    """The credit of all rules that calls have met of late."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        """How its leases begin."""
        self._credits: dict[str, Units | Places] = {}
        self.told: list[Told] = []
        """What Valkey has not heard yet."""
        self.fresh_until = -math.inf
        """Nothing is spent later: a process that froze asks first."""
        self.oldest = math.inf
        """Places taken before may not be ours any more, or not for long enough."""

    def take(self, rules: Sequence[Rule], costs: Sequence[int]) -> Taken | None:
        """All of it at once from what is at hand. Every call passes here: it has to be quick."""
        if monotonic() > self.fresh_until:
            return None
        known, credits = self._credits, []
        for rule, cost in zip(rules, costs, strict=True):
            credit = known.get(rule.name)
            if credit is None or credit.amount < cost or (credit.rule is not rule and not credit.is_of(rule)):
                return None
            credits.append(credit)
        remaining, places = [], []
        for credit, cost in zip(credits, costs, strict=True):
            left = credit.amount = credit.amount - cost
            if left < credit.least:
                credit.least = left
            remaining.append(credit.known + left)
            if credit.free is not None:
                places.append(credit.free.pop())
        return Taken(rules, costs, remaining, credits, places)

    def ask(self, rules: Sequence[Rule], costs: Sequence[int]) -> Asking:
        now, spared = monotonic(), list[tuple[Places, Place]]()
        credits, asked = [self._of(rule, now) for rule in rules], list[Asked]()
        for credit, cost in zip(credits, costs, strict=True):
            if isinstance(credit, Units):
                asked.append(credit.ask(cost, now))
                continue
            if place := credit.spare():
                spared.append((credit, place))
            asked.append(credit.ask(place.lease if place else f"{self._owner}{new_lease()}", now))
        return Asking(rules, costs, credits, asked, spared)

    def _of(self, rule: Rule, now: float) -> Units | Places:
        credit = self._credits.get(rule.name)
        if credit is not None and credit.is_of(rule):
            return credit
        if credit is not None:
            self.told += credit.leave()
        credit = self._credits[rule.name] = (Places if rule.what == "parallel" else Units)(rule, now)
        return credit

    def take_in(self, asking: Asking, told: Sequence[int]) -> Taken:
        """Valkey let the call through. `told`: what remains of each rule, and what is granted ahead, by turns."""
        self.end(asking)
        now, places = monotonic(), []
        for credit, asked, left, granted in zip(asking.credits, asking.asked, told[::2], told[1::2], strict=True):
            credit.known = left
            if isinstance(credit, Units):
                credit.add(granted)
            else:
                places.append(Place(str(asked[4]), now))
        remaining = [credit.known + credit.amount for credit in asking.credits]
        return Taken(asking.rules, asking.costs, remaining, asking.credits, places)

    def refuse(self, asking: Asking) -> None:
        """Valkey did not."""
        self.end(asking)
        for credit, place in asking.spared:
            self.told += credit.end(place, self.oldest)

    def end(self, asking: Asking) -> None:
        """Whatever came of it."""
        for credit, asked in zip(asking.credits, asking.asked, strict=True):
            if isinstance(credit, Units):
                credit.answered(asked)

    def settle(self, taken: Taken, costs: Sequence[int]) -> None:
        places = iter(taken.places)
        for credit, before, after in zip(taken.credits, taken.costs, costs, strict=True):
            if isinstance(credit, Places):
                self.told += credit.end(next(places), self.oldest)
            elif before != after and (more := credit.correct(after - min(before, credit.rule.amount))):
                self.told.append(credit.about(more))

    def undo(self, taken: Taken) -> None:
        """The call is not made."""
        self.settle(taken, [0] * len(taken.costs))

    def tidy(self, now: float) -> None:
        """Give back what is idle."""
        for name, credit in [*self._credits.items()]:
            self.told += credit.tidy(self.oldest)
            if not credit.amount and now - credit.asked_at > FORGOTTEN:
                credit.current = False
                del self._credits[name]

    def give_all_back(self) -> None:
        for credit in self._credits.values():
            self.told += credit.give_back(credit.amount)


def new_lease() -> str:
    return f"{getrandbits(96):024x}"
