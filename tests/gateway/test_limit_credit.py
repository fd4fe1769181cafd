"""What processes hold of limits: never more passes than they allow, whoever takes turns, and idle credit comes back."""

import asyncio
import random
import time
import uuid
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import redis
from redis.exceptions import RedisError

from gateway.limits import counters as limit_counters
from gateway.limits import fill
from gateway.limits.counters import Refused, Shared
from gateway.limits.rules import Rule
from tests.chaos.proxy import Proxy

YEAR = 365 * 86400.0
"""In which so little comes back that no slow machine adds one."""
IDLE = 2.5 * limit_counters.LOOK
"""After which nothing idle is held."""
AWAY = (OSError, TimeoutError, RedisError)


def rule(what="requests", amount=5_000, seconds=YEAR):
    return Rule(uuid.uuid4().hex, what, amount, seconds, "this API key")


class Process(Shared):
    """Counts how often Valkey was asked."""

    asked = 0

    async def ask(self, rules, costs):
        self.asked += 1
        return await super().ask(rules, costs)


@pytest.fixture
async def processes(valkey, settings):
    settings.REDIS_URL = valkey
    made = [Process(valkey, patience=30) for _ in range(2)]
    yield made
    for process in made:
        await process.close()


@pytest.fixture
def process(processes):
    return processes[0]


async def call(process, rules, costs, used=None):
    """A call of no length."""
    taken = await process.take(rules, costs)
    process.settle(taken, used or costs)
    await asyncio.sleep(0)
    return taken


async def until_refused(process, one, cost=1):
    """How many calls pass."""
    passed = 0
    try:
        while True:
            await call(process, [one], [cost])
            passed += 1
    except Refused:
        return passed


async def warm(process, rules, costs, used=None):
    """Call until something is held."""
    deadline, asked = time.monotonic() + 20, None
    while asked != process.asked:
        assert time.monotonic() < deadline
        asked = process.asked
        await call(process, rules, costs, used)


async def held(one, used):
    """What is counted in Valkey beyond what calls used."""
    return (await asyncio.to_thread(fill.taken, [one]))[0] - used


async def test_two_processes_let_exactly_the_limit_through(processes):
    one = rule(amount=20_000)

    passed = 0
    for _ in range(3):  # what is idle with one comes back for the other
        passed += sum(await asyncio.gather(*(until_refused(each, one) for each in processes * 8)))
        await asyncio.sleep(IDLE)

    assert passed == 20_000
    assert sum(each.asked for each in processes) < 10_000


async def test_calls_use_no_more_tokens_than_the_limit_however_they_end(processes):
    one, chance = rule("tokens", 200_000), random.Random(1)
    used = 0

    async def caller(process):
        nonlocal used
        try:
            while True:
                cost = chance.randrange(1, 200)
                taken = await process.take([one], [cost])
                await asyncio.sleep(chance.choice([0, 0, 0.001]))
                spent = chance.randrange(cost + 1)
                used += spent
                process.settle(taken, [spent])
        except Refused:
            return

    for _ in range(3):
        await asyncio.gather(*(caller(each) for each in processes * 8))
        await asyncio.sleep(IDLE)
        assert used <= 200_000
    assert used > 199_000
    assert await held(one, used) == 0


async def test_no_more_calls_run_at_once_than_the_limit(processes):
    one, running, most = rule("parallel", 40, 0), 0, 0

    async def caller(process, chance):
        nonlocal running, most
        for _ in range(150):
            try:
                taken = await process.take([one], [1])
            except Refused:
                await asyncio.sleep(0.002)
                continue
            running += 1
            most = max(most, running)
            await asyncio.sleep(chance.random() * 0.004)
            running -= 1
            process.settle(taken, [1])
            await asyncio.sleep(chance.random() * 0.008)

    await asyncio.gather(*(caller(each, random.Random(n)) for n, each in enumerate(processes * 30)))

    assert 20 < most <= 40
    await asyncio.sleep(IDLE)
    assert await held(one, 0) == 0


async def test_every_call_that_runs_has_a_place_of_its_own(processes):
    one, running, short = rule("parallel", 400, 0), 0, 0

    async def caller(process, chance):
        nonlocal running, short
        for _ in range(40):
            taken = await process.take([one], [1])
            running += 1
            await asyncio.sleep(chance.random() * 0.01)
            short = max(short, running - fill.taken([one])[0])
            running -= 1
            process.settle(taken, [1])
            await asyncio.sleep(0)

    await asyncio.gather(*(caller(each, random.Random(n)) for n, each in enumerate(processes * 10)))

    assert short == 0
    assert sum(each.asked for each in processes) < 400


async def test_a_small_limit_is_counted_call_by_call(process):
    rules = [rule(amount=99), rule("tokens", 99), rule("parallel", 9, 0)]
    for _ in range(40):
        await call(process, rules, [1, 1, 1])
        await asyncio.sleep(0.005)
        assert process.take_held(rules[:1], [1]) is process.take_held(rules[1:2], [1]) is None

    assert process.asked == 40
    assert await asyncio.to_thread(fill.taken, rules) == [40, 40, 0]


async def test_one_in_a_hundred_of_what_is_left_is_held_at_most(processes):
    one, used = rule(amount=10_000), 0
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline and used < 6_000:
        for each in processes:
            await call(each, [one], [1])
            used += 1
        if used % 500 == 0:
            assert 0 <= await held(one, used) <= 2 * (10_000 - used) // 100 + 2

    assert sum(each.asked for each in processes) < used / 2


async def test_who_asks_seldom_is_lent_nothing(process):
    one = rule(amount=10**6)
    for _ in range(3):
        await call(process, [one], [1])
        await asyncio.sleep(0.6)

    assert process.asked == 3
    assert await held(one, 3) == 0


async def test_what_is_left_goes_down_with_every_call(process):
    one = rule(amount=10_000)
    await warm(process, [one], [1])

    asked = process.asked

    left = [(await call(process, [one], [1])).remaining[0] for _ in range(300)]

    assert process.asked - asked < 150
    assert all(later - earlier == -1 for earlier, later in pairwise(left))


async def test_idle_credit_comes_back(process):
    rules = [rule(amount=10_000), rule("tokens", 10**6), rule("parallel", 100, 0)]
    await warm(process, rules, [1, 10, 1])
    assert await held(rules[0], 0) > 0
    left = (await process.take(rules[:1], [1])).remaining[0]

    await asyncio.sleep(IDLE)

    assert process.take_held(rules[:1], [1]) is None
    assert await held(rules[0], 10_000 - left) == 0
    assert await held(rules[2], 0) == 0


async def test_what_a_call_did_not_use_is_there_for_the_next(process):
    one = rule("tokens", 10**6)
    for _ in range(20):
        await call(process, [one], [1_000], [10])

    assert process.asked == 2
    await asyncio.sleep(IDLE)
    assert await held(one, 200) == 0


async def test_more_than_a_lease_goes_back_at_once(process):
    one = rule("tokens", 10**5)
    await call(process, [one], [50_000], [0])
    await asyncio.sleep(0.1)

    assert 0 < await held(one, 0) <= 1_000


async def test_what_a_call_used_beyond_is_told_at_once(processes):
    one = rule("tokens", 10**5)
    await warm(processes[0], [one], [100], [1])
    await call(processes[0], [one], [10], [10**5])
    await asyncio.sleep(0.1)

    for each in processes:
        with pytest.raises(Refused):
            await each.take([one], [1])


async def test_a_place_is_kept_for_the_next_call_for_a_moment(process):
    one = rule("parallel", 100, 0)
    for _ in range(10):
        await call(process, [one], [1])

    assert process.asked < 3
    assert await held(one, 0) == 1
    await asyncio.sleep(IDLE)
    assert await held(one, 0) == 0


async def test_a_place_is_given_back_at_once_where_less_than_half_are_free(process):
    one = rule("parallel", 100, 0)
    taken = [await process.take([one], [1]) for _ in range(60)]

    for each in taken[:5]:
        process.settle(each, [1])
    await asyncio.sleep(0.1)

    assert await held(one, 55) == 0
    assert process.take_held([one], [1]) is None


async def test_a_place_that_may_be_anothers_by_now_is_not_kept(valkey, settings, monkeypatch):
    monkeypatch.setattr(limit_counters, "ALIVE_SECONDS", 0.8)
    settings.REDIS_URL = valkey
    proxy, one = Proxy(Path(valkey.removeprefix("unix://"))), rule("parallel", 100, 0)
    distant = Shared(f"redis://127.0.0.1:{proxy.port}", patience=0.3)
    await call(distant, [one], [1])
    long = await distant.take([one], [1])
    proxy.cut()
    await asyncio.sleep(1.5)
    proxy.heal()
    with redis.Redis(unix_socket_path=valkey.removeprefix("unix://")) as client:
        client.delete(one.name)  # as whoever needs the places of the dead does
    await heard(distant)

    distant.settle(long, [1])

    assert distant.take_held([one], [1]) is None
    await distant.close()
    proxy.stop()


async def heard(process):
    """Wait until Valkey answers again."""
    for _ in range(100):
        try:
            await process.take([rule()], [1])
        except AWAY:
            await asyncio.sleep(0.1)
        else:
            return


async def test_a_raised_limit_helps_at_once_and_a_lowered_one_bites(processes):
    one = rule(amount=10_000)
    for each in processes:
        await warm(each, [one], [1])
    used = (await asyncio.to_thread(fill.taken, [one]))[0]

    for each in processes:
        with pytest.raises(Refused):
            await each.take([replace(one, amount=used - 5)], [1])
    counted = (await asyncio.to_thread(fill.taken, [one]))[0]
    for each in processes:
        assert (await each.take([replace(one, amount=50_000)], [1])).remaining[0] >= 50_000 - counted - 10


async def test_the_places_of_a_changed_limit_go_back(process):
    one = rule("parallel", 100, 0)
    await call(process, [one], [1])
    await call(process, [one], [1])

    taken = await process.take([replace(one, amount=1)], [1])

    process.settle(taken, [1])
    await asyncio.sleep(0.1)
    assert await held(one, 0) == 0


async def test_a_caller_that_leaves_takes_nothing_along(process):
    rules = [rule(amount=50), rule("parallel", 5, 0)]
    asking = [asyncio.create_task(process.take(rules, [1, 1])) for _ in range(5)]
    await asyncio.sleep(0)
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await process.take([rule()], [1])
    await asyncio.sleep(0.1)

    assert await asyncio.to_thread(fill.taken, rules) == [0, 0]


async def test_a_process_that_froze_asks_first(process):
    one = rule(amount=10**6)
    await warm(process, [one], [1])
    asked = process.asked

    time.sleep(4.5 * limit_counters.LOOK)  # noqa: ASYNC251 - that is the point
    await process.take([one], [1])

    assert process.asked == asked + 1


async def test_what_is_held_is_spent_while_valkey_is_away(valkey):
    proxy, one = Proxy(Path(valkey.removeprefix("unix://"))), rule(amount=10**6)
    distant = Process(f"redis://127.0.0.1:{proxy.port}", patience=0.3)
    await warm(distant, [one], [1])

    proxy.cut()
    await distant.take([one], [1])
    with pytest.raises(AWAY):
        await until_refused(distant, one)

    await distant.close()
    proxy.stop()
