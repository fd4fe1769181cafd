"""Every call passes here: one look at the counters before it is made, one more when it has ended."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

from gateway.envelope import Problem
from gateway.ledger.record import Record
from gateway.limits.counters import Counters, Local, Refused, Shared
from gateway.limits.credit import Taken
from gateway.limits.rules import Rule
from gateway.models import pace

if TYPE_CHECKING:
    from gateway.accepted import Accepted
    from gateway.snapshot import Snapshot

TOLD = {
    what: (f"x-ratelimit-limit-{what}", f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}")
    for what in ("requests", "tokens")
}
"""What answers tell about, as OpenAI's do."""


class LimitGate:
    def __init__(self) -> None:
        shared = Shared(settings.REDIS_URL) if settings.REDIS_URL else None
        self.counters = Counters(shared, Local(settings.WEB_WORKERS))

    async def start(self) -> None:
        """Nothing is held before the first call."""

    async def close(self) -> None:
        await self.counters.close()

    async def admit(self, accepted: "Accepted", snapshot: "Snapshot") -> "Admitted | None":
        if not snapshot.limits:
            return None
        rules = snapshot.limits.of(accepted.principal, accepted.entry.public_id, str(accepted.entry.connection_id))
        if not rules:
            return None
        try:
            taken = await self.counters.take(rules, _costs(rules, accepted.expected_tokens))
        except Refused as refused:
            raise _refusal(refused) from None
        return Admitted(self.counters, taken)


class Admitted:
    """What one call took. Tokens are corrected to what it used, its place among the parallel ones is given back."""

    def __init__(self, counters: Counters, taken: Taken) -> None:
        self._counters, self._taken = counters, taken

    @property
    def headers(self) -> Mapping[str, str]:
        """`x-ratelimit-…`, of the limit that is nearest to its end."""
        found: dict[str, tuple[int, Rule]] = {}
        for rule, left in zip(self._taken.rules, self._taken.remaining, strict=True):
            what = rule.what
            if what in TOLD and (what not in found or left < found[what][0]):
                found[what] = left, rule
        told: dict[str, str] = {}
        for what, (left, rule) in found.items():
            limit, remaining, reset = TOLD[what]
            told[limit] = str(rule.amount)
            taken = min(rule.amount, max(rule.amount - left, 0))
            told[remaining] = str(rule.amount - taken)
            told[reset] = f"{taken * rule.seconds / rule.amount:.3f}s"
        return told

    def settle(self, record: Record) -> None:
        used = (record.prompt_tokens or 0) + (record.completion_tokens or 0)
        self._counters.settle(self._taken, _costs(self._taken.rules, used))


def _costs(rules: Sequence[Rule], tokens: int) -> list[int]:
    return [tokens if rule.what == "tokens" else 1 for rule in rules]


def _refusal(refused: Refused) -> Problem:
    rule, wait = refused.rule, max(refused.retry_after, 0.001)
    when = "when one has ended" if rule.what == "parallel" else _when(wait)
    limit = pace(rule.what, rule.amount, rule.seconds)
    message = f"The limit of {limit} is reached for {rule.whose}. Try again {when}."
    return Problem("rate_limit_exceeded", message, retry_after=wait)


def _when(wait: float) -> str:
    """For people; whoever waits for more than a minute may read it later."""
    seconds = math.ceil(wait)
    if seconds <= 60:
        return f"in {seconds} s"
    return f"in {-(-seconds // 60)} min, at {timezone.now() + timedelta(seconds=seconds):%H:%M} UTC"
