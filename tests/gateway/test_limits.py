"""Limits: exact however many ask at once, shared by processes, and given back when a call ends."""

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from django.core.exceptions import ValidationError

from access import keys, services
from access.models import AuditEvent
from connections.services import delete_connection, models
from gateway.limits import acts, fill
from gateway.limits import counters as limit_counters
from gateway.limits.counters import Counters, Local, Refused, Shared
from gateway.limits.rules import LimitEntry, Rule, Rules
from gateway.models import Limit
from tests.chaos.proxy import Proxy


def rule(what="requests", amount=100, seconds=60.0):
    return Rule(uuid.uuid4().hex, what, amount, seconds, "this API key")


@pytest.fixture(params=["shared", "local"])
async def counters(request, valkey):
    made = Counters(Shared(valkey, patience=30) if request.param == "shared" else None, Local())
    yield made
    await made.close()


async def passed(counters, one, tries, cost=1):
    async def attempt():
        try:
            return await counters.take([one], [cost])
        except Refused as refused:
            return refused

    outcomes = await asyncio.gather(*(attempt() for _ in range(tries)))
    return [outcome for outcome in outcomes if not isinstance(outcome, Refused)], outcomes


async def test_exactly_the_burst_passes(counters):
    taken, _ = await passed(counters, rule(amount=50, seconds=3600), 500)

    assert len(taken) == 50


async def test_what_is_left_is_told(counters):
    one = rule(amount=10, seconds=3600)

    assert [(await counters.take([one], [1])).remaining[0] for _ in range(3)] == [9, 8, 7]


async def test_who_is_refused_learns_when_to_come_again(counters):
    one = rule(amount=60, seconds=3600)
    _, outcomes = await passed(counters, one, 61)

    refused = next(outcome for outcome in outcomes if isinstance(outcome, Refused))
    assert 0 < refused.retry_after <= 60


async def test_a_bucket_fills_again(counters):
    one = rule(amount=20, seconds=1.0)
    await passed(counters, one, 30)
    emptied = time.monotonic()
    await asyncio.sleep(0.3)

    taken, _ = await passed(counters, one, 30)

    assert 4 <= len(taken) <= 20 * (time.monotonic() - emptied) + 1


async def test_a_raised_limit_helps_at_once(counters):
    low = rule(amount=10, seconds=3600)
    await passed(counters, low, 20)

    taken, _ = await passed(counters, replace(low, amount=100), 200)

    assert len(taken) == 90


async def test_a_lowered_limit_owes_no_more_than_itself(counters):
    high = rule(amount=100, seconds=3600)
    await passed(counters, high, 50)

    taken, outcomes = await passed(counters, replace(high, amount=10), 5)

    assert taken == []
    assert 300 < outcomes[0].retry_after <= 361


async def test_a_call_that_ends_after_the_limit_was_raised_owes_what_it_used(counters):
    low = rule("tokens", 1_000, 3600)
    taken = await counters.take([low], [10])
    high = replace(low, amount=100_000)
    await counters.take([high], [50_000])

    counters.settle(taken, [20])

    assert 49_970 <= (await counters.take([high], [1])).remaining[0] <= 49_990


async def test_one_limit_that_refuses_leaves_the_others_untouched(counters):
    open_, closed = rule(amount=10, seconds=3600), rule(amount=1, seconds=3600)
    await counters.take([closed], [1])

    with pytest.raises(Refused) as refused:
        await counters.take([open_, closed], [1, 1])

    assert refused.value.rule is closed
    assert (await counters.take([open_], [1])).remaining[0] == 9


async def test_tokens_are_corrected_to_what_was_used(counters):
    one = rule("tokens", 1_000, 3600)
    taken = await counters.take([one], [900])
    counters.settle(taken, [100])

    assert (await counters.take([one], [0])).remaining[0] in (899, 900)


async def test_more_tokens_than_expected_are_owed(counters):
    one = rule("tokens", 1_000, 3600)
    taken = await counters.take([one], [10])
    counters.settle(taken, [1_500])

    with pytest.raises(Refused) as refused:
        await counters.take([one], [1])
    assert 1_700 < refused.value.retry_after < 1_900  # 501 tokens at 3.6 s each


async def test_one_call_larger_than_the_limit_gets_the_whole_bucket(counters):
    taken, _ = await passed(counters, rule("tokens", 100, 3600), 2, cost=5_000)

    assert len(taken) == 1


async def test_places_of_a_process_that_died_are_free_again(valkey, monkeypatch):
    monkeypatch.setattr(limit_counters, "ALIVE_SECONDS", 2.0)
    dying, living = Shared(valkey, patience=30), Shared(valkey, patience=30)
    mine, other = rule("parallel", 1, 0), rule("parallel", 1, 0)
    await dying.take([other], [1])
    await living.take([mine], [1])
    await dying.close()  # without having settled
    await asyncio.sleep(2.2)

    await living.take([other], [1])
    with pytest.raises(Refused):
        await living.take([mine], [1])
    await living.close()


async def test_places_are_given_back_when_valkey_answers_again(valkey, monkeypatch):
    monkeypatch.setattr(limit_counters, "ALIVE_SECONDS", 0.8)
    proxy, one = Proxy(Path(valkey.removeprefix("unix://"))), rule("parallel", 2, 0)
    distant = Shared(f"redis://127.0.0.1:{proxy.port}", patience=1.5)
    taken = await distant.take([one], [1])

    proxy.lose("back")
    distant.settle(taken, [1])
    with pytest.raises(TimeoutError):
        await distant.take([one], [1])  # which Valkey hears all the same
    proxy.heal()

    with redis.Redis(unix_socket_path=valkey.removeprefix("unix://")) as client:
        for _ in range(600):
            await asyncio.sleep(0.05)
            if not (held := client.zcard(one.name)):
                break
    assert held == 0
    await distant.close()
    proxy.stop()


async def test_parallel_calls_are_given_back(counters):
    one = rule("parallel", 2, 0)
    taken, _ = await passed(counters, one, 5)
    assert len(taken) == 2

    counters.settle(taken[0], [1])

    assert len((await passed(counters, one, 5))[0]) == 1


async def test_without_valkey_each_process_has_its_share(tmp_path):
    counters = Counters(Shared(f"unix://{tmp_path}/absent.sock"), Local(processes=4))
    started = time.monotonic()

    taken, _ = await passed(counters, rule(amount=100, seconds=3600), 200)

    assert len(taken) == 25
    assert counters.degraded == 200
    assert time.monotonic() - started < 30  # it is asked once, not two hundred times
    await counters.close()


async def test_what_is_taken_is_shown_without_changing_it(valkey, settings):
    settings.REDIS_URL = valkey
    rules = [rule(amount=10, seconds=3600), rule("tokens", 1_000, 3600), rule("parallel", 3, 0), rule()]
    counters = Counters(Shared(valkey, patience=30), Local())
    await counters.take(rules[:3], [1, 400, 1])
    await counters.take(rules[:2], [1, 500])
    await counters.close()

    assert [fill.taken(rules) for _ in range(2)] == [[2, 900, 1, 0]] * 2
    assert fill.taken([replace(rules[0], amount=100)]) == [2]


def test_what_nobody_knows_is_shown_as_such(settings, tmp_path):
    settings.REDIS_URL = f"unix://{tmp_path}/absent.sock"

    assert fill.taken([rule(), rule("parallel", 1, 0)]) == [None, None]


def test_many_threads_and_loops_share_one_counter(valkey):
    one = rule(amount=100, seconds=3600)

    def some(_):
        async def ask():
            counters = Counters(Shared(valkey, patience=30), Local())
            taken, _ = await passed(counters, one, 100)
            await counters.close()
            return len(taken)

        return asyncio.run(ask())

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(some, range(8))) == 100


def test_a_call_meets_the_limits_of_all_it_is_about(alice):
    entries = [
        LimitEntry(1, "all", "", "requests", 1, 60),
        LimitEntry(2, "user", str(alice.pk), "requests", 2, 60),
        LimitEntry(3, "each_user", "", "requests", 3, 60),
        LimitEntry(4, "user", "0", "requests", 4, 60),
        LimitEntry(5, "model", "a/b", "tokens", 5, 60),
        LimitEntry(6, "group", str(min(alice.principal.group_ids)), "parallel", 6, 0),
        LimitEntry(7, "each_key", "", "requests", 7, 60),
    ]

    found = Rules(entries).of(alice.principal, "a/b", "c")

    assert {one.name.partition(":")[2].partition(":")[2] for one in found} == {"1:", "5:", "2:", f"3:{alice.pk}", "6:"}


# --- acts ----------------------------------------------------------------------------------------------------


def test_a_limit_is_added_changed_and_removed_with_audit(ada, alice):
    row = acts.add_limit(ada, scope="user", subject=str(alice.pk), what="requests", amount=60)
    acts.change_limit(ada, row, amount=30)
    acts.change_limit(ada, row, amount=30, enabled=False)
    acts.change_limit(ada, row, enabled=False)
    acts.remove_limit(ada, Limit.objects.get())

    assert list(AuditEvent.objects.order_by("pk").values_list("action", "before", "after")) == [
        ("limit.added", {}, {**WHOLE, "amount": 60}),
        ("limit.changed", {"amount": 60}, {"amount": 30}),
        ("limit.changed", {"enabled": True}, {"enabled": False}),
        ("limit.removed", {**WHOLE, "amount": 30, "enabled": False}, {}),
    ]


WHOLE = {"for": "One user: alice", "what": "requests", "per": "minute", "enabled": True}


def test_the_same_limit_is_not_added_twice(ada):
    acts.add_limit(ada, scope="all", what="parallel", amount=3)

    with pytest.raises(ValidationError) as refusal:
        acts.add_limit(ada, scope="all", what="parallel", amount=5)

    assert "already of 3 calls at once" in refusal.value.messages[0]
    assert AuditEvent.objects.count() == 1


@pytest.mark.parametrize(
    "leaving", ["a revoked key", "a deleted group", "a removed model", "a deleted connection", "a model with it"]
)
def test_what_goes_takes_its_limits_along(ada, alice, analysts, connect, leaving):
    connection = connect("openai")
    model = connection.models.get()
    key, _ = keys.issue(alice, "test", scopes=["generate"])
    scope, subject, leave = {
        "a revoked key": ("key", key.public_id, lambda: services.revoke_key(ada, key)),
        "a deleted group": ("group", str(analysts.pk), lambda: services.delete_group(ada, analysts)),
        "a removed model": ("model", model.public_id, lambda: models.remove_model(ada, model)),
        "a deleted connection": ("connection", str(connection.pk), lambda: delete_connection(ada, connection)),
        "a model with it": ("model", model.public_id, lambda: delete_connection(ada, connection)),
    }[leaving]
    acts.add_limit(ada, scope=scope, subject=subject, what="requests", amount=1)
    kept = acts.add_limit(ada, scope="user", subject=str(alice.pk), what="requests", amount=1)

    leave()

    assert list(Limit.objects.all()) == [kept]
    assert AuditEvent.objects.filter(action="limit.removed").count() == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 10**13}, "amount"),
        ({"scope": "planet"}, "scope"),
        ({"what": "words"}, "what"),
        ({"seconds": 61}, "seconds"),
        ({"seconds": 0}, "seconds"),
        ({"what": "parallel", "seconds": 60}, "seconds"),
        ({"scope": "user", "subject": "9" * 300}, "subject"),
        ({"subject": "x"}, "subject"),
        ({"scope": "user"}, "subject"),
        ({"scope": "user", "subject": "0"}, "subject"),
        ({"scope": "user", "subject": "'; --"}, "subject"),
        ({"scope": "connection", "subject": "nonsense"}, "subject"),
        ({"scope": "key", "subject": "0000000000"}, "subject"),
    ],
)
def test_a_senseless_limit_is_refused(ada, wrong, field):
    with pytest.raises(ValidationError) as refusal:
        acts.add_limit(ada, **{"scope": "all", "what": "requests", "amount": 1, **wrong})

    assert field in refusal.value.message_dict
    assert not Limit.objects.exists()


async def test_a_valkey_that_forgot_the_script_or_was_restarted_is_asked_again(valkey):
    counters, one = Counters(Shared(valkey, patience=30), Local()), rule(amount=10, seconds=3600)
    await counters.take([one], [1])
    with redis.Redis.from_url(valkey) as client:
        client.script_flush()
        await counters.take([one], [1])
        client.client_kill_filter(_type="normal", skipme=True)

    taken, _ = await passed(counters, one, 20)

    assert (len(taken), counters.degraded) == (8, 0)
    await counters.close()
