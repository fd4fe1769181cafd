"""Which model a call goes to, and to which next when that fails: retries, breakers, and what they need to know."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from connections.providers.calls import Usage
from connections.providers.contract import Provider
from connections.providers.errors import BadReply, ProviderError, Temporary, TLSFailed
from gateway import retries
from gateway.breaker import Breaker, State
from gateway.envelope import Problem
from gateway.snapshot import ModelEntry

COUNTED = (Temporary, BadReply, TLSFailed)
"""Failures of the upstream; what a caller or an admin has to mend says nothing about whether it is there."""


@dataclass(slots=True)
class Standing:
    """What this process has seen of one model. It begins anew when the model's connection is changed."""

    provider: Provider
    breaker: Breaker = field(default_factory=Breaker)
    budget: retries.Budget = field(default_factory=retries.Budget)
    running: int = 0
    """Calls under way."""


class Standings:
    """Of all models that were called."""

    def __init__(self) -> None:
        self._known: dict[UUID, Standing] = {}

    def of(self, entry: ModelEntry) -> Standing:
        found = self._known.get(entry.id)
        if found is None or found.provider is not entry.provider:
            found = self._known[entry.id] = Standing(entry.provider)
        return found

    def forget(self) -> None:
        self._known.clear()


@dataclass(slots=True)
class Attempt:
    """One upstream call. While it runs, `ended` is None."""

    number: int
    entry: ModelEntry
    standing: Standing
    ticket: int
    started: float
    ended: float | None = None
    error: ProviderError | None = None
    usage: Usage | None = None
    """Of a failed one: what it cost all the same."""

    @property
    def ms(self) -> int:
        return round(((self.ended or time.perf_counter()) - self.started) * 1000)


class Course:
    """The attempts of one call. `begin` before each; then `fail`, or `end` when the call is over."""

    def __init__(self, standings: Standings, candidates: Sequence[ModelEntry]) -> None:
        self._standings = standings
        self._candidates = candidates
        self.attempts: list[Attempt] = []
        """Those that failed, and the one that runs."""
        self.current: Attempt | None = None

    def begin(self) -> Attempt:
        """The next attempt. Raises Problem when nothing may be asked."""
        entry = self._candidates[0]
        standing = self._standings.of(entry)
        ticket = standing.breaker.start()
        if ticket is None:
            raise _unavailable(standing.breaker.wait())
        if not self.attempts:
            standing.budget.earn()
        standing.running += 1
        self.current = Attempt(len(self.attempts) + 1, entry, standing, ticket, time.perf_counter())
        self.attempts.append(self.current)
        return self.current

    def speaks(self) -> None:
        """The first part of a stream is there: a probe needs to know no more."""
        if self.current is not None and self.current.standing.breaker.state is not State.CLOSED:
            self.current.standing.breaker.end(self.current.ticket, True)

    def fail(self, error: ProviderError, usage: Usage | None = None) -> None:
        if self.current is not None:
            self.current.error, self.current.usage = error, usage
        self.end(worked=False if isinstance(error, COUNTED) else None)

    def end(self, worked: bool | None) -> None:
        """The attempt is over; None: in a way that says nothing about the upstream."""
        attempt, self.current = self.current, None
        if attempt is not None:
            attempt.ended = time.perf_counter()
            attempt.standing.running -= 1
            attempt.standing.breaker.end(attempt.ticket, worked)

    def pause(self, error: ProviderError, left: float) -> float | None:
        """Seconds until the next attempt after this failure, of `left` that the call has; None: there is none."""
        last = self.attempts[-1]
        if not error.retryable or last.number > min(last.entry.retries, retries.MOST):
            return None
        wait = retries.pause(last.number, error.retry_after, left)
        if wait is None or last.standing.breaker.wait() > 0 or not last.standing.budget.spend():
            return None
        return wait


def _unavailable(wait: float) -> Problem:
    message = "This model has failed again and again and is left alone for a moment; try again later."
    return Problem("upstream_unavailable", message, retry_after=max(wait, 1.0))
