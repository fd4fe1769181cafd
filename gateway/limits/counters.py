"""The counters themselves: in Valkey for all processes, in memory while it is away.

Requests and tokens are counted by the generic cell rate algorithm: per limit, the time at which its bucket would be
full again, and the amount by which that was reckoned: where an admin changes it, what was used stays used.
Parallel calls are leases of a process that says again and again that it lives: those of one that has died go to
whoever would be refused because of them. While plenty is left, a process holds some of each, so that it need
not ask for every call: see `gateway/limits/credit.py`.
"""

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import getrandbits

import msgspec
from prometheus_client import Counter
from redis.exceptions import RedisError

from connections.interrupting import Deadline
from gateway.limits.credit import KEPT, SHARE, Asked, Asking, Held, Taken, Told, new_lease
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
LOOK = 0.5
"""Seconds between two looks at what lies idle."""
REST = 1.0
"""Seconds for which it is left alone after it did not."""
DEGRADED = Counter("mesh_limits_degraded_calls", "Calls whose limits this process counted alone, without Valkey")
logger = logging.getLogger(__name__)

STEP = """
local CONSTANTS
local function stored(key, now, amount)
  local full, of = string.match(redis.call('GET', key) or '', '^(%d+):(%d+)$')
  return math.max(tonumber(full) or now, now), tonumber(of) or amount
end
local function full_at(key, now, amount, window)
  local full, of = stored(key, now, amount)
  if of == amount then return full end
  return now + math.min((full - now) * of / amount, window)
end
local function store(key, full, amount, window)
  redis.call('SET', key, string.format('%.0f:%.0f', full, amount), 'PX', math.ceil(window / 500) + 1)
end
local function settle(rule, now)
  local key, what, amount, window, more = unpack(rule)
  if what == 'parallel' then
    redis.call('ZREM', key, more)
  else
    local full, of = stored(key, now, amount)
    store(key, math.max(full + more * window / of, now), of, window)
  end
end
local function bury(key)
  local lives = {}
  for _, lease in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    local owner = string.sub(lease, 1, OWNER)
    if lives[owner] == nil then lives[owner] = redis.call('EXISTS', ALIVE .. owner) == 1 end
    if not lives[owner] then redis.call('ZREM', key, lease) end
  end
end
local function others(key, lease)
  return redis.call('ZCARD', key) - (redis.call('ZSCORE', key, lease) and 1 or 0)
end
local function take(rules, now, lease_ends)
  local answer, after = {0, 0}, {}
  for i, rule in ipairs(rules) do
    local key, what, amount, window, cost, wanted, held = unpack(rule)
    local left, granted = 0, 0
    if what == 'parallel' then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
      if others(key, cost) >= amount then bury(key) end
      left = amount - others(key, cost) - 1
      if left < 0 then return {i, 1000000} end
    else
      local each = window / amount
      after[i] = full_at(key, now, amount, window) + math.min(cost, amount) * each
      if after[i] - now > window then return {i, math.ceil(after[i] - now - window)} end
      left = math.floor((window - (after[i] - now)) / each)
      granted = math.max(0, math.min(wanted, math.floor((left + held) / SHARE)) - held)
      after[i] = after[i] + granted * each
    end
    answer[2 * i + 1], answer[2 * i + 2] = left - granted, granted
  end
  for i, rule in ipairs(rules) do
    local key, what, amount, window, lease = unpack(rule)
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
redis.call('SET', ALIVE .. owner, 1, 'PX', alive_time)
local answers = {}
for _, rule in ipairs(settled) do settle(rule, now) end
for i, rules in ipairs(taken) do answers[i] = take(rules, now, now + lease_time) end
return cmsgpack.pack(answers)
""".replace("CONSTANTS", f"SHARE, OWNER, ALIVE = {SHARE}, {OWNER}, '{ALIVE}'")
"""Settles what is told, then takes for calls. Of each it takes all limits or none: {0, 0, what remains, what is granted
ahead, …} or {place of the one that refuses, microseconds to wait}; packed.

Its argument: what is `Told`, for each call what is `Asked`, the microseconds of a lease, who asks, and for how many
milliseconds that one is taken to live.
"""


class Refused(Exception):
    """`rule` lets nothing through before `retry_after` seconds have passed."""

    def __init__(self, rule: Rule, retry_after: float) -> None:
        super().__init__(rule.name)
        self.rule, self.retry_after = rule, retry_after


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[int]]).decode


class Shared:
    """Counters in Valkey. All calls that wait go there together, so that many share one round trip."""

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self._url, self._patience = url, patience
        self._owner = f"{getrandbits(4 * OWNER):0{OWNER}x}"
        self._held = Held(self._owner)
        self._keeper: asyncio.Task[None] | None = None
        self._silent = False
        """Whether it is time to be heard."""
        self._heard, self._since = -math.inf, -math.inf
        """When Valkey heard us last, and since when it has done so without a break."""
        self._owed: list[Told] = []
        """Places to be given back when Valkey answers again; it may have heard what it did not answer."""
        self._line: Line | None = None
        self._taking: list[tuple[Asking, asyncio.Future[Taken]]] = []
        self._later: asyncio.TimerHandle | None = None
        self._flusher: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        self._held.give_all_back()
        self._flush()
        while self._flusher is not None:
            await self._flusher
        if self._line is not None:
            self._line.close()

    async def take(self, rules: Sequence[Rule], costs: Sequence[int]) -> Taken:
        return self.take_held(rules, costs) or await self.ask(rules, costs)

    def take_held(self, rules: Sequence[Rule], costs: Sequence[int]) -> Taken | None:
        """From what is at hand; None: Valkey has to be asked."""
        return self._held.take(rules, costs)

    async def ask(self, rules: Sequence[Rule], costs: Sequence[int]) -> Taken:
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._live())
        done: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._taking.append((self._held.ask(rules, costs), done))
        self._flush()
        try:
            return await done
        except asyncio.CancelledError:
            if not done.cancelled() and done.exception() is None:  # let through in the very moment in which it left
                self._held.undo(done.result())
                self._settle()
            raise

    def settle(self, taken: Taken, costs: Sequence[int]) -> None:
        """Before whatever is asked later, or in a moment; nobody waits for it."""
        self._held.settle(taken, costs)
        self._settle()

    def _settle(self) -> None:
        if self._held.told and self._flusher is None and self._later is None:
            self._later = asyncio.get_running_loop().call_later(SETTLED_IN, self._flush)

    async def _live(self) -> None:
        spoke = time.monotonic()
        while True:
            pause = min(LOOK, ALIVE_SECONDS / 4)
            self._look(time.monotonic(), pause)
            await asyncio.sleep(pause)
            if (now := time.monotonic()) - spoke >= ALIVE_SECONDS / 4:
                spoke, self._silent = now, True
                self._held.told += self._owed
                self._owed = []
                self._flush()

    def _look(self, now: float, pause: float) -> None:
        """Give back what is idle, and all places while Valkey does not hear us: they may go to others."""
        heard = now - self._heard < ALIVE_SECONDS / 2
        self._held.oldest = max(self._since, now - KEPT) if heard else math.inf
        self._held.tidy(now)
        self._held.fresh_until = now + 4 * pause
        self._settle()

    def _flush(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush_all())

    async def _flush_all(self) -> None:
        try:
            while self._held.told or self._taking or self._silent:
                await self._flush_group()
        finally:
            self._flusher = None

    async def _flush_group(self) -> None:
        telling, self._held.told = self._held.told, []
        taking, self._taking = self._taking, []
        self._silent = False
        try:
            answers = await self._run(telling, [asking.asked for asking, _ in taking])
        except Exception as error:  # whatever it is, those who wait have to hear of it
            if telling:
                logger.warning("%d limits could not be settled; places are given back later", len(telling))
            self._owed += _places([*telling, *(asked[:5] for asking, _ in taking for asked in asking.asked)])
            for asking, done in taking:
                self._held.end(asking)
                if not done.done():
                    done.set_exception(error)
            return
        for (asking, done), answer in zip(taking, answers, strict=True):
            self._hear(asking, done, answer)

    def _hear(self, asking: Asking, done: "asyncio.Future[Taken]", answer: list[int]) -> None:
        place, wait, *told = answer
        if place:
            self._held.refuse(asking)
            if not done.done():
                done.set_exception(Refused(asking.rules[place - 1], wait / 1e6))
            return
        taken = self._held.take_in(asking, told)
        if done.done():  # whoever waited has left
            self._held.undo(taken)
        else:
            done.set_result(taken)

    async def _run(self, telling: list[Told], taking: list[Sequence[Asked]]) -> list[list[int]]:
        started = time.monotonic()
        with Deadline(self._patience):
            answers = await self._exchange(telling, taking)
        if time.monotonic() - self._heard > ALIVE_SECONDS * 0.8:
            self._trust_from(started)
        self._heard = started
        return answers

    async def _exchange(self, telling: list[Told], taking: list[Sequence[Asked]]) -> list[list[int]]:
        if self._line is not None:
            try:
                return await self._say(self._line, telling, taking)
            except OSError:  # it was restarted, or heard us all the same: counted twice, but not given back twice
                self._trust_from(time.monotonic())
                telling = [told for told in telling if isinstance(told[4], str) or told[4] > 0]
        self._line = await Line.open(self._url, STEP, self._patience)
        return await self._say(self._line, telling, taking)

    async def _say(self, line: Line, telling: list[Told], taking: list[Sequence[Asked]]) -> list[list[int]]:
        asked = _encode([telling, taking, int(LEASE_SECONDS * 1e6), self._owner, int(ALIVE_SECONDS * 1e3)])
        try:
            return _decode(await line.run(asked))
        except BaseException:
            self._line = None
            line.close()  # an answer that comes late must not be taken for that to the next question
            raise

    def _trust_from(self, now: float) -> None:
        """Places that were taken before may not be ours any more."""
        self._held.oldest = self._since = now


def _places(told: Iterable[Told]) -> list[Told]:
    """What may be given back twice without harm."""
    return [one for one in told if one[1] == "parallel"]


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
        return Taken(rules, costs, remaining, local=lease)

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
                self._leases.get(rule.name, {}).pop(taken.local, None)
            elif after != before:
                amount = self._share(rule)
                full, of = self._full.get(rule.name, (now, amount))
                more = (after - min(before, amount)) * rule.seconds / of
                self._full[rule.name] = max(now, max(full, now) + more), of


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
        if taken := self.shared.take_held(rules, costs):
            return taken
        if time.monotonic() >= self._away_until:
            try:
                return await self.shared.ask(rules, costs)
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
