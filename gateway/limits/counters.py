"""The counters themselves: in Valkey for all processes, in memory while it is away.

Requests and tokens are counted by the generic cell rate algorithm: per limit, the time at which its bucket would be
full again, and the amount by which that was reckoned: where an admin changes it, what was used stays used.
Parallel calls are leases with an end, so that a process that dies holds none for ever.
"""

import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio
from prometheus_client import Counter
from redis.exceptions import RedisError

from gateway.limits.rules import Rule

PREFIX = "limit:"
LEASE_SECONDS = 660.0
"""A little more than the longest call."""
PATIENCE = 0.5
"""Seconds that Valkey has to answer."""
LINES = 32
"""Connections to Valkey of one process; whoever finds none free waits for one."""
REST = 1.0
"""Seconds for which it is left alone after it did not."""
DEGRADED = Counter("mesh_limits_degraded_calls", "Calls whose limits this process counted alone, without Valkey")
logger = logging.getLogger(__name__)

FULL_AT = """
local function full_at(key, now, amount, window)
  local full, of = string.match(redis.call('GET', key) or '', '^(%d+):(%d+)$')
  full, of = tonumber(full) or now, tonumber(of) or amount
  if full <= now then return now end
  if of == amount then return full end
  return now + math.min((full - now) * of / amount, window)
end
local function store(key, full, amount, window)
  redis.call('SET', key, string.format('%.0f:%.0f', full, amount), 'PX', math.ceil(window / 500) + 1)
end
"""
TAKE = f"""{FULL_AT}
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local found = {{}}
for i, key in ipairs(KEYS) do
  local what, amount, window, cost = ARGV[4*i-1], tonumber(ARGV[4*i]), tonumber(ARGV[4*i+1]), tonumber(ARGV[4*i+2])
  if what == 'parallel' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    local count = redis.call('ZCARD', key)
    if count >= amount then return {{i, 1000000, 0}} end
    found[i] = amount - count - 1
  else
    local each = window / amount
    local after = full_at(key, now, amount, window) + math.min(cost, amount) * each
    if after - now > window then return {{i, after - now - window, 0}} end
    found[i] = math.floor((window - (after - now)) / each)
  end
end
for i, key in ipairs(KEYS) do
  local what, amount, window, cost = ARGV[4*i-1], tonumber(ARGV[4*i]), tonumber(ARGV[4*i+1]), tonumber(ARGV[4*i+2])
  if what == 'parallel' then
    redis.call('ZADD', key, now + tonumber(ARGV[2]), ARGV[1])
    redis.call('PEXPIRE', key, tonumber(ARGV[2]) / 1000)
  else
    store(key, full_at(key, now, amount, window) + math.min(cost, amount) * window / amount, amount, window)
  end
end
return {{0, 0, unpack(found)}}
"""
"""All limits or none: {0, 0, remaining…} or {place of the one that refuses, microseconds to wait, 0}."""

SETTLE = f"""{FULL_AT}
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
for i, key in ipairs(KEYS) do
  local what, amount, window, more = ARGV[4*i-2], tonumber(ARGV[4*i-1]), tonumber(ARGV[4*i]), tonumber(ARGV[4*i+1])
  if what == 'parallel' then
    redis.call('ZREM', key, ARGV[1])
  elseif more ~= 0 then
    local after = full_at(key, now, amount, window) + more * window / amount
    store(key, math.max(after, now), amount, window)
  end
end
return 0
"""


class Refused(Exception):
    """`rule` lets nothing through before `retry_after` seconds have passed."""

    def __init__(self, rule: Rule, retry_after: float) -> None:
        super().__init__(rule.name)
        self.rule, self.retry_after = rule, retry_after


@dataclass(slots=True)
class Taken:
    """What one call took of its limits."""

    rules: Sequence[Rule]
    costs: Sequence[int]
    remaining: Sequence[int]
    lease: str
    local: bool = False


class Shared:
    """Counters in Valkey."""

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=LINES, timeout=patience, socket_timeout=patience, socket_connect_timeout=patience
        )
        self._client = redis.asyncio.Redis.from_pool(pool)
        self._take = self._client.register_script(TAKE)
        self._settle = self._client.register_script(SETTLE)

    async def close(self) -> None:
        await self._client.aclose()

    async def take(self, rules: Sequence[Rule], costs: Sequence[int]) -> Taken:
        lease = uuid.uuid4().hex
        arguments: list[Any] = [lease, int(LEASE_SECONDS * 1e6)]
        for rule, cost in zip(rules, costs, strict=True):
            arguments += [rule.what, rule.amount, int(rule.seconds * 1e6), cost]
        place, wait, *remaining = await self._take(keys=keys(rules), args=arguments)
        if place:
            raise Refused(rules[place - 1], wait / 1e6)
        return Taken(rules, costs, remaining, lease)

    async def settle(self, taken: Taken, costs: Sequence[int]) -> None:
        arguments: list[Any] = [taken.lease]
        for rule, before, after in zip(taken.rules, taken.costs, costs, strict=True):
            arguments += [rule.what, rule.amount, int(rule.seconds * 1e6), after - min(before, rule.amount)]
        await self._settle(keys=keys(taken.rules), args=arguments)


def keys(rules: Sequence[Rule]) -> list[str]:
    """Of their counters in Valkey."""
    return [f"{PREFIX}{rule.what}:{rule.name}" for rule in rules]


class Local:
    """Counters of one process, each with its share of the limit."""

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._full: dict[str, tuple[float, int]] = {}
        self._leases: dict[str, dict[str, float]] = {}

    def take(self, rules: Sequence[Rule], costs: Sequence[int]) -> Taken:
        now = time.monotonic()
        remaining = [self._left(rule, cost, now) for rule, cost in zip(rules, costs, strict=True)]
        lease = uuid.uuid4().hex
        for rule, cost in zip(rules, costs, strict=True):
            if rule.what == "parallel":
                self._leases.setdefault(rule.name, {})[lease] = now + LEASE_SECONDS
            else:
                amount = self._share(rule)
                full = self._full_at(rule, now) + min(cost, amount) * rule.seconds / amount
                self._full[rule.name] = full, amount
        return Taken(rules, costs, remaining, lease, local=True)

    def _share(self, rule: Rule) -> int:
        return max(1, rule.amount // self._processes)

    def _full_at(self, rule: Rule, now: float) -> float:
        amount = self._share(rule)
        full, of = self._full.get(rule.name, (now, amount))
        if full <= now or of == amount:
            return max(full, now)
        return now + min((full - now) * of / amount, rule.seconds)

    def _left(self, rule: Rule, cost: int, now: float) -> int:
        amount = self._share(rule)
        if rule.what == "parallel":
            held = {name: end for name, end in self._leases.get(rule.name, {}).items() if end > now}
            self._leases[rule.name] = held
            if len(held) >= amount:
                raise Refused(rule, 1.0)
            return amount - len(held) - 1
        after = self._full_at(rule, now) - now + min(cost, amount) * rule.seconds / amount
        if after > rule.seconds:
            raise Refused(rule, after - rule.seconds)
        return int((rule.seconds - after) * amount / rule.seconds)

    def settle(self, taken: Taken, costs: Sequence[int]) -> None:
        now = time.monotonic()
        for rule, before, after in zip(taken.rules, taken.costs, costs, strict=True):
            if rule.what == "parallel":
                self._leases.get(rule.name, {}).pop(taken.lease, None)
            elif after != before:
                amount = self._share(rule)
                more = (after - min(before, amount)) * rule.seconds / amount
                self._full[rule.name] = max(now, self._full_at(rule, now) + more), amount


@dataclass
class Counters:
    """Shared while Valkey answers, else this process's own; `degraded` counts the calls that had to do with those."""

    shared: Shared | None
    local: Local
    degraded: int = 0
    _away_until: float = field(default=0.0, repr=False)

    async def take(self, rules: Sequence[Rule], costs: Sequence[int]) -> Taken:
        if self.shared is None:
            return self.local.take(rules, costs)
        if time.monotonic() >= self._away_until:
            try:
                return await self.shared.take(rules, costs)
            except (TimeoutError, RedisError, OSError):
                self._away_until = time.monotonic() + REST
                logger.warning("Valkey does not answer; limits are counted by each process for itself")
        self.degraded += 1
        DEGRADED.inc()
        return self.local.take(rules, costs)

    async def settle(self, taken: Taken, costs: Sequence[int]) -> None:
        if taken.local or self.shared is None:
            self.local.settle(taken, costs)
            return
        try:
            await self.shared.settle(taken, costs)
        except (TimeoutError, RedisError, OSError):
            logger.warning("A call's limits could not be settled; its lease ends by itself")

    async def close(self) -> None:
        if self.shared is not None:
            await self.shared.close()
