"""Which model a call goes to, and to which next when that fails: retries, breakers, and what they need to know."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from msgspec import Struct

from connections import prices
from connections.prices import own_in_force
from connections.providers.calls import Usage
from connections.providers.contract import Provider
from connections.providers.errors import BadReply, ProviderError, Temporary, TLSFailed
from gateway import retries
from gateway.breaker import Breaker, State
from gateway.envelope import Problem
from gateway.models import Route
from gateway.snapshot import ModelEntry, RouteEntry, TargetEntry

COUNTED = (Temporary, BadReply, TLSFailed)
"""Failures of the upstream; what a caller or an admin has to mend says nothing about whether it is there."""


NEWEST = 0.2
"""Weight of the newest call in a model's mean latency."""
UNCOUNTED = -1
"""The ticket of a call that is made although the breaker is open, because every other target's is open too."""


@dataclass(slots=True)
class Standing:
    """What this process has seen of one model. It begins anew when the model's connection is changed."""

    provider: Provider
    breaker: Breaker = field(default_factory=Breaker)
    budget: retries.Budget = field(default_factory=retries.Budget)
    running: int = 0
    """Calls under way."""
    latency: float | None = None
    """Seconds to the first part of an answer: a mean in which the newest calls weigh most."""

    def learn(self, seconds: float) -> None:
        self.latency = seconds if self.latency is None else self.latency + NEWEST * (seconds - self.latency)


class Standings:
    """Of all models that were called."""

    def __init__(self) -> None:
        self._known: dict[str, Standing] = {}

    def of(self, entry: ModelEntry) -> Standing:
        found = self._known.get(entry.public_id)
        if found is None or found.provider is not entry.provider:
            found = self._known[entry.public_id] = Standing(entry.provider)
        return found

    def forget(self) -> None:
        self._known.clear()


class Attempt(Struct):
    """One upstream call. While it runs, `ended` is None."""

    number: int
    entry: ModelEntry
    standing: Standing
    ticket: int
    started: float
    spoke: float | None = None
    """When the first part of a stream was there."""
    ended: float | None = None
    error: ProviderError | None = None
    usage: Usage | None = None
    """Of a failed one: what it cost all the same."""

    @property
    def ms(self) -> int:
        return round(((self.ended or time.perf_counter()) - self.started) * 1000)


class Course:
    """The attempts of one call. `begin` before each; then `fail`, or `end` when the call is over."""

    def __init__(self, standings: Standings, candidates: Sequence[ModelEntry], route: RouteEntry | None = None) -> None:
        """`candidates`: in the order in which they are asked. Only a route has more than one."""
        self._standings = standings
        self._route = route
        self.candidates = candidates
        self._ahead = list(candidates)
        self.attempts: list[Attempt] = []
        """Those that failed, and the one that runs."""
        self.current: Attempt | None = None

    def keep_to(self, candidates: Sequence[ModelEntry]) -> None:
        """Leave the others out, before the first attempt."""
        self.candidates, self._ahead = candidates, list(candidates)

    def begin(self) -> Attempt:
        """The next attempt. Raises Problem, or the last attempt's error, when nothing may be asked."""
        while self._ahead:
            entry = self._ahead.pop(0)
            ticket = self._standings.of(entry).breaker.start()
            if ticket is not None:
                return self._attempt(entry, ticket)
        if self.attempts and (error := self.attempts[-1].error):
            raise error
        if len(self.candidates) > 1:
            return self._attempt(self.candidates[0], UNCOUNTED)
        raise _unavailable(min(self._standings.of(entry).breaker.wait() for entry in self.candidates))

    def _attempt(self, entry: ModelEntry, ticket: int) -> Attempt:
        standing = self._standings.of(entry)
        if not self._tries(entry):
            standing.budget.earn()
        standing.running += 1
        self.current = Attempt(len(self.attempts) + 1, entry, standing, ticket, time.perf_counter())
        self.attempts.append(self.current)
        return self.current

    def _tries(self, entry: ModelEntry) -> int:
        return sum(attempt.entry is entry for attempt in self.attempts)

    def speaks(self) -> None:
        """The first part of a stream is there: more than that nobody waits for, and a probe needs to know no more."""
        attempt = self.current
        if attempt is not None and attempt.spoke is None:
            attempt.spoke = time.perf_counter()
            if attempt.standing.breaker.state is not State.CLOSED:
                attempt.standing.breaker.end(attempt.ticket, True)

    def fail(self, error: ProviderError, usage: Usage | None = None) -> None:
        if self.current is not None:
            self.current.error, self.current.usage = error, usage
        # where it was raised, megabytes of an answer may be held; and the attempt and the error hold each other
        error.__traceback__ = error.__cause__ = error.__context__ = None
        self.end(worked=False if isinstance(error, COUNTED) else None)

    def end(self, worked: bool | None) -> None:
        """The attempt is over; None: in a way that says nothing about the upstream."""
        attempt, self.current = self.current, None
        if attempt is None:
            return
        attempt.ended = time.perf_counter()
        attempt.standing.running -= 1
        attempt.standing.breaker.end(attempt.ticket, worked)
        if worked:
            attempt.standing.learn((attempt.spoke or attempt.ended) - attempt.started)

    def pause(self, error: ProviderError, left: float) -> float | None:
        """Seconds until the next attempt after this failure, of `left` that the call has; None: there is none."""
        if left > 0 and self._route is not None and self._route.goes_on_after(error) and self._others():
            return 0.0
        last = self.attempts[-1]
        tries = self._tries(last.entry)
        if not error.retryable or tries > min(last.entry.retries, retries.MOST):
            return None
        wait = retries.pause(tries, error.retry_after, left)
        if wait is None or last.standing.breaker.wait() > 0 or not last.standing.budget.spend():
            return None
        self._ahead.insert(0, last.entry)
        return wait

    def _others(self) -> bool:
        """Whether one of the targets that were not asked yet may be."""
        return any(not self._standings.of(entry).breaker.wait() for entry in self._ahead)


def ordered(
    route: RouteEntry, targets: Sequence[TargetEntry], standings: Standings, expected: Usage
) -> list[ModelEntry]:
    """By priority, then as the route's strategy has it; those known to fail come last, but are never left out."""
    if len(targets) == 1:
        return [targets[0].model]
    measure = STRATEGIES[route.strategy]

    def place(target: TargetEntry) -> tuple[bool, int, float, float]:
        standing = standings.of(target.model)
        drawn = -(random.random() ** (1 / target.weight))  # noqa: S311 - sorted by it, shares are as the weights
        return _fails(target.model, standing), target.priority, measure(target, standing, expected), drawn

    return [target.model for target in sorted(targets, key=place)]


def _fails(entry: ModelEntry, standing: Standing) -> bool:
    return entry.failing or standing.breaker.wait() > 0


def _price(target: TargetEntry, standing: Standing, expected: Usage) -> float:
    """What the expected tokens cost; an unknown price counts as the highest."""
    cost = price_of(target.model, expected)
    return inf if cost is None else cost


def price_of(entry: ModelEntry, usage: Usage) -> int | None:
    """10⁻⁹ USD, by the price that holds now."""
    own = own_in_force(entry.prices, time.time()) if entry.prices else None
    return prices.cost(entry.provider.priced_as(entry.target), entry.provider.price_provider, usage, own).nano


STRATEGIES: Mapping[str, Callable[[TargetEntry, Standing, Usage], float]] = {
    Route.Strategy.WEIGHT: lambda target, standing, expected: 0.0,
    Route.Strategy.LEAST_BUSY: lambda target, standing, expected: standing.running,
    Route.Strategy.LATENCY: lambda target, standing, expected: standing.latency or 0.0,
    Route.Strategy.PRICE: _price,
}
"""What targets are compared by; ties are drawn by weight. One that was never measured comes first, to be."""


def _unavailable(wait: float) -> Problem:
    message = "This model has failed again and again and is left alone for a moment; try again later."
    return Problem("upstream_unavailable", message, retry_after=max(wait, 1.0))
