"""The counters themselves: in Valkey for all processes, in memory while it is away.

Requests and tokens are counted by the generic cell rate algorithm: per limit, the time at which its bucket would be
full again, and the amount by which that was reckoned: where an admin changes it, what was used stays used.
Parallel calls are leases of a process that says again and again that it lives: those of one that has died go to
whoever would be refused because of them.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import getrandbits

import msgspec
from prometheus_client import Counter
from redis.exceptions import RedisError

from connections.interrupting import Deadline
from gateway.limits.line import Line
from gateway.limits.rules import Rule

LEASE_SECONDS = 660.0
"""A little more than the longest call."""
ALIVE_SECONDS = 20.0
"""For which a process is taken to live after it was heard last."""
ALIVE = "limit:alive:"
OWNER = 12
"""Letters at the beginning of a lease that say whose it is."""
PATIENCE = 0.5
"""Seconds that Valkey has to answer."""
SETTLED_IN = 0.005
"""Seconds after which a call is settled if no other call takes it along."""
REST = 1.0
"""Seconds for which it is left alone after it did not."""
DEGRADED = Counter("mesh_limits_degraded_calls", "Calls whose limits this process counted alone, without Valkey")
logger = logging.getLogger(__name__)

STEP = """
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
local function settle(lease, rules, now)
  for _, rule in ipairs(rules) do
    local key, what, amount, window, more = unpack(rule)
    if what == 'parallel' then
      redis.call('ZREM', key, lease)
    elseif more ~= 0 then
      store(key, math.max(full_at(key, now, amount, window) + more * window / amount, now), amount, window)
    end
  end
end
local function bury(key)
  local lives = {}
  for _, lease in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    local owner = string.sub(lease, 1, OWNER)
    if lives[owner] == nil then lives[owner] = redis.call('EXISTS', 'ALIVE' .. owner) == 1 end
    if not lives[owner] then redis.call('ZREM', key, lease) end
  end
end
local function take(lease, rules, now, lease_ends)
  local answer, after = {0, 0}, {}
  for i, rule in ipairs(rules) do
    local key, what, amount, window, cost = unpack(rule)
    if what == 'parallel' then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
      if redis.call('ZCARD', key) >= amount then bury(key) end
      local count = redis.call('ZCARD', key)
      if count >= amount then return {i, 1000000} end
      answer[i + 2] = amount - count - 1
    else
      local each = window / amount
      after[i] = full_at(key, now, amount, window) + math.min(cost, amount) * each
      if after[i] - now > window then return {i, math.ceil(after[i] - now - window)} end
      answer[i + 2] = math.floor((window - (after[i] - now)) / each)
    end
  end
  for i, rule in ipairs(rules) do
    local key, what, amount, window = unpack(rule)
    if what == 'parallel' then
      redis.call('ZADD', key, lease_ends, lease)
      redis.call('PEXPIREAT', key, math.ceil(lease_ends / 1000))
    else
      store(key, after[i], amount, window)
    end
  end
  return answer
end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local settled, taken, lease_time, owner, alive_time = unpack(cmsgpack.unpack(ARGV[1]))
redis.call('SET', 'ALIVE' .. owner, 1, 'PX', alive_time)
local answers = {}
for _, call in ipairs(settled) do settle(call[1], call[2], now) end
for i, call in ipairs(taken) do answers[i] = take(call[1], call[2], now, now + lease_time) end
return cmsgpack.pack(answers)
""".replace("ALIVE", ALIVE).replace("OWNER", str(OWNER))
"""Settles calls, then takes for others. Of each it takes all limits or none: {0, 0, remaining…} or
{place of the one that refuses, microseconds to wait}; packed.

Its argument: [[lease, rules], …] to settle, the same to take, the microseconds of a lease, who asks, and for how many
milliseconds that one is taken to live; a rule is [key, what, amount, microseconds of its window, cost, or what it is
corrected by].
"""


class Refused(Exception):
    """`rule` lets nothing through before `retry_after` seconds have passed."""

    def __init__(self, rule: Rule, retry_after: float) -> None:
        super().__init__(rule.name)
        self.rule, self.retry_after = rule, retry_after


class Taken(msgspec.Struct):
    """What one call took of its limits."""

    rules: Sequence[Rule]
    costs: Sequence[int]
    remaining: Sequence[int]
    lease: str
    local: bool = False


Part = tuple[str, list[tuple[str, str, int, int, int]]]
"""What one call asks of the script: its lease and its rules."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[int]]).decode


class Shared:
    """Counters in Valkey. All calls that wait go there together, so that many share one round trip."""

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self._url, self._patience = url, patience
        self._owner = f"{getrandbits(4 * OWNER):0{OWNER}x}"
        self._keeper: asyncio.Task[None] | None = None
        self._silent = False
        """Whether it is time to be heard."""
        self._owed: list[Part] = []
        """Places to be given back when Valkey answers again; it may have heard what it did not answer."""
        self._line: Line | None = None
        self._settling: list[Part] = []
        self._taking: list[tuple[Part, asyncio.Future[list[int]]]] = []
        self._later: asyncio.TimerHandle | None = None
        self._flusher: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        self._flush()
        while self._flusher is not None:
            await self._flusher
        if self._line is not None:
            self._line.close()

    async def take(self, rules: Sequence[Rule], costs: Sequence[int]) -> Taken:
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._live())
        lease = f"{self._owner}{new_lease()}"
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._taking.append(((lease, list(map(_described, rules, costs))), done))
        self._flush()
        place, wait, *remaining = await done
        if place:
            raise Refused(rules[place - 1], wait / 1e6)
        return Taken(rules, costs, remaining, lease)

    def settle(self, taken: Taken, costs: Sequence[int]) -> None:
        """Before whatever is taken later, or in a moment; nobody waits for it."""
        pairs = zip(taken.rules, taken.costs, costs, strict=True)
        more = [(rule, after - min(before, rule.amount)) for rule, before, after in pairs]
        changed = [_described(rule, amount) for rule, amount in more if amount or rule.what == "parallel"]
        self._settling.append((taken.lease, changed))
        if self._flusher is None and self._later is None:
            self._later = asyncio.get_running_loop().call_later(SETTLED_IN, self._flush)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_SECONDS / 4)
            self._silent = True
            self._settling, self._owed = self._settling + self._owed, []
            self._flush()

    def _flush(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush_all())

    async def _flush_all(self) -> None:
        try:
            while self._settling or self._taking or self._silent:
                await self._flush_group()
        finally:
            self._flusher = None

    async def _flush_group(self) -> None:
        settling, self._settling = self._settling, []
        taking, self._taking = self._taking, []
        self._silent = False
        try:
            answers = await self._run(settling, [part for part, _ in taking])
        except Exception as error:  # whatever it is, those who wait have to hear of it
            if settling:
                logger.warning("%d calls could not be settled; their places are given back later", len(settling))
            self._owed += _places([*settling, *(part for part, _ in taking)])
            for _, done in taking:
                if not done.done():
                    done.set_exception(error)
            return
        for (_, done), answer in zip(taking, answers, strict=True):
            if not done.done():
                done.set_result(answer)

    async def _run(self, settling: list[Part], taking: list[Part]) -> list[list[int]]:
        asked = _encode([settling, taking, int(LEASE_SECONDS * 1e6), self._owner, int(ALIVE_SECONDS * 1e3)])
        with Deadline(self._patience):
            if self._line is not None:
                try:
                    return await self._ask(self._line, asked)
                except OSError:  # Valkey was restarted; what it may have counted before is counted twice
                    pass
            self._line = await Line.open(self._url, STEP, self._patience)
            return await self._ask(self._line, asked)

    async def _ask(self, line: Line, asked: bytes) -> list[list[int]]:
        try:
            return _decode(await line.run(asked))
        except BaseException:
            self._line = None
            line.close()  # an answer that comes late must not be taken for that to the next question
            raise


def _described(rule: Rule, amount: int) -> tuple[str, str, int, int, int]:
    return rule.name, rule.what, rule.amount, int(rule.seconds * 1e6), amount


def _places(parts: Sequence[Part]) -> list[Part]:
    """What may be given back twice without harm."""
    found = [(lease, [rule for rule in rules if rule[1] == "parallel"]) for lease, rules in parts]
    return [part for part in found if part[1]]


def new_lease() -> str:
    return f"{getrandbits(96):024x}"


class Local:
    """Counters of one process, each with its share of the limit."""

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._full: dict[str, tuple[float, int]] = {}
        self._leases: dict[str, dict[str, float]] = {}

    def take(self, rules: Sequence[Rule], costs: Sequence[int]) -> Taken:
        now = time.monotonic()
        remaining = [self._left(rule, cost, now) for rule, cost in zip(rules, costs, strict=True)]
        lease = new_lease()
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

    def settle(self, taken: Taken, costs: Sequence[int]) -> None:
        if taken.local or self.shared is None:
            self.local.settle(taken, costs)
        else:
            self.shared.settle(taken, costs)

    async def close(self) -> None:
        if self.shared is not None:
            await self.shared.close()
