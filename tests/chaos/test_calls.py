"""M, T: calls of every kind through two web processes, some of which die. The long form is `make chaos`."""

import signal
import threading
import time
from collections import Counter

import pytest
from django.db import connection
from django.db.models import Sum

from connections.models import Model
from gateway.budgets import acts as budgets
from gateway.models import BudgetWindow, Route, Usage
from tests.chaos.invariants import CALL_ID, books, check_books, check_nothing_open
from tests.chaos.load import DONE, ERROR, Kind, Load, Rota, Seen, in_background, treated
from tests.chaos.site import Killer, Site, kills_web, wait_for
from tests.chaos.verdicts import Verdict
from tests.mesh import Client
from tests.upstream.faults import Fault
from tests.upstream.server import Upstream
from tests.upstream.wire import ABSENT

pytestmark = pytest.mark.timeout(1800)
KINDS = {
    "fine": Kind([Fault.answer(chunks=9, cached=3)], 30),
    "slow": Kind([Fault.answer(chunks=20, delay=0.02)], 6),
    "says no usage": Kind([Fault.usage(ABSENT)]),
    "refused": Kind([Fault.status(400)]),
    "fails once": Kind([Fault.status(500), Fault.answer()]),
    "busy once": Kind([Fault.status(429, retry_after="0"), Fault.answer()]),
    "hangs up once": Kind([Fault.hang_up(), Fault.answer()]),
    "fails": Kind([Fault.status(503)]),
    "login page": Kind([Fault.html()]),
    "half": Kind([Fault.half_json()], stream=False),
    "cut": Kind([Fault.reset_mid_event(5, chunks=9)], stream=True),
    "cut at once": Kind([Fault.reset_after_head(), Fault.answer()], stream=True),
    "no end": Kind([Fault.no_done(chunks=9)], stream=True),
    "ends early": Kind([Fault.ends_early(4, chunks=9)], stream=True),
    "leaves": Kind([Fault.answer(chunks=60, delay=0.03)], 2, stream=True, leaves_after=3),
    "leaves early": Kind([Fault.silence()], leaves_after=0),
}
WHOLE = {"fine", "slow", "says no usage"}
NOTICED = 10.0
"""Seconds after which every call of a killed process has its row."""
BROKEN = {"cut", "ends early"}
"""Where the provider gives no proper end; a reason to finish is one, even without its last line."""


@pytest.fixture
def models(site: Site, upstream: Upstream) -> list[str]:
    """Two models, and a route that falls back from the one to the other."""
    mark = time.monotonic_ns()
    site.connect(f"calls-{mark}", models={"one": "chat", "two": "chat", "three": "chat", "four": "chat"})
    names = [f"calls-{mark}/{name}" for name in ("one", "two", "three", "four")]
    route = Route.objects.create(name=f"route-{mark}")
    for priority, name in enumerate(names[2:]):
        route.targets.create(model=Model.objects.get(public_id=name), priority=priority)
    site.announce()
    return [*names[:2], route.name]


def number_of(request) -> int:
    return int(request.json["messages"][-1]["content"].rpartition(" ")[2])


def test_mixed_calls(site: Site, models: list[str], upstream: Upstream, verdict: Verdict):
    """M1 M3 T2: mixed calls, web processes killed"""
    upstream.always(treated(KINDS))
    load = Load(verdict.seed, KINDS, models)
    killer = Killer(verdict.seed, verdict.size(2, 30), verdict.size((1.5, 2.0), (3.0, 6.0)))
    for door in site.doors:
        killer.may_kill(str(door.port), kills_web(site, door))
    with killer:
        seen = load.run(site.doors, verdict.size(300, 10_000), rate=verdict.size(60, 75))
    written = [one for one in seen if one.whole and one.request_id]
    rows = wait_for_rows([one.request_id for one in written])
    cut = [one for one in seen if one.cut]
    verdict.count(calls=len(seen), kills=len(killer.struck), answered=len(written), cut_off=len(cut))
    verdict.check(rows == len(written), f"no answer without its row: {len(written) - rows} have none")
    check_endings(verdict, seen)
    wait_for_notes(upstream)
    found = check_books(verdict, upstream)
    interrupted = [site.judge_of(call) for call, row in found.rows.items() if row.error_code == "interrupted"]
    unharmed = [one for one in interrupted if not died_with_its_process(seen[number_of(one)], killer)]
    verdict.count(interrupted=len(interrupted))
    verdict.check(not unharmed, f"none is called interrupted whose process lived: {len(unharmed)} are")
    check_nothing_open(verdict, site.socket if verdict.long else None)


def wait_for_rows(ids: list[str]) -> int:
    """Rows of cancelled calls are written in the background; those of answers are there."""
    found = Usage.objects.filter(request_id__in=ids).count()
    time.sleep(2)
    return found


def wait_for_notes(upstream: Upstream) -> None:
    """Calls whose process was killed are booked by another one."""
    until = time.monotonic() + NOTICED
    while books(upstream).absent and time.monotonic() < until:
        time.sleep(0.5)


def died_with_its_process(seen: Seen, killer: Killer) -> bool:
    """Nobody was answered, and the process was killed meanwhile, or just after its client had left."""
    blows = [at for at, name in killer.struck if name == str(seen.door)]
    return not seen.whole and any(seen.began <= at <= seen.ended + 1 for at in blows)


def check_endings(verdict: Verdict, seen: list[Seen]) -> None:
    """T2: one proper end, or an error and no end; what was answered has every word."""
    streams = [one for one in seen if one.whole and b"data: " in one.body]
    twice = [one for one in streams if one.body.count(DONE) > 1]
    both = [one for one in streams if DONE in one.body and ERROR in one.body]
    feigned = [one for one in streams if one.kind in BROKEN and DONE in one.body]
    short = [one for one in seen if one.whole and one.status == 200 and ERROR not in one.body and not has_all(one)]
    verdict.count(streams=len(streams), broken_off=sum(ERROR in one.body for one in streams))
    verdict.check(not twice, f"one [DONE] at the most: {twice[:3]}")
    verdict.check(not both, f"no [DONE] after an error: {both[:3]}")
    verdict.check(not feigned, f"no [DONE] where the provider gave no end: {feigned[:3]}")
    verdict.check(not short, f"no word is lost: {short[:3]}")


def has_all(seen: Seen) -> bool:
    last = {"fine": 8, "slow": 19}.get(seen.kind)
    return last is None or f"word{last}".encode() in seen.body


AWAY = {"fine": KINDS["fine"], "slow": KINDS["slow"]}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="nobody can stand between us and SQLite")
@pytest.mark.parametrize("how", ["cut", "stalled"])
def test_the_database_is_away(site: Site, models: list[str], upstream: Upstream, verdict: Verdict, how: str):
    """O1 M1: PostgreSQL {how} under load"""
    verdict.scenario = verdict.scenario.format(how=how)
    away, rate = verdict.size((5.0, 15), (20.0, 30))
    before, after = 2.0, verdict.size(4.0, 12.0)
    upstream.always(treated(AWAY))
    gone: list[float] = []

    def go_away() -> None:
        time.sleep(before)
        gone.append(time.monotonic())
        site.database_proxy.cut() if how == "cut" else site.database_proxy.stall()
        time.sleep(away)
        site.database_proxy.heal()
        gone.append(time.monotonic())

    thread = in_background(go_away)
    seen = Load(verdict.seed, AWAY, models).run(site.doors, int((before + away + after) * rate), clients=200, rate=rate)
    thread.join()
    during = [one for one in seen if gone[0] < one.began < gone[1]]
    meanwhile = [one for one in during if one.status != 200]
    slow = [one for one in during if one.seconds > verdict.size(4.5, 3.5)]
    told = Counter((one.status, b'"overloaded"' in one.body) for one in meanwhile)
    failed_later = [one.began - gone[1] for one in seen if one.began > gone[1] and one.status != 200]
    recovery = max(failed_later, default=0.0)
    answered = [one for one in seen if one.whole and one.status == 200 and ERROR not in one.body]
    rows = wait_for_rows([one.request_id for one in answered])
    verdict.count(
        away=f"{away:g} s", calls=len(seen), answered=len(answered), refused=len(meanwhile),
        slowest=f"{max((one.seconds for one in during), default=0):.1f} s", recovery=f"{recovery:.1f} s",
    )  # fmt: skip
    verdict.check(not slow, f"answered or refused within 3 s: {len(slow)} are not")
    verdict.check(set(told) <= {(503, True)}, f"refused with 503 overloaded: {dict(told)}")
    verdict.check(recovery <= 10, f"well again within 10 s: {recovery:.1f} s")
    verdict.check(rows == len(answered), f"no answer without its row: {len(answered) - rows} have none")
    check_books(verdict, upstream)
    check_nothing_open(verdict, site.socket if verdict.long else None)


@pytest.mark.long
def test_clients_leave(site: Site, models: list[str], upstream: Upstream, verdict: Verdict):
    """M2: clients leave within their streams"""
    kinds = {"leaves": Kind([Fault.answer(chunks=400, delay=0.02)], stream=True, leaves_after=5)}
    upstream.always(treated(kinds))
    seen = Load(verdict.seed, kinds, models).run(site.doors, 1000, clients=32)
    left_at = {one.number: one.ended for one in seen if one.left}
    requests = [request for request in upstream.requests if CALL_ID in request.headers]
    wait_for(lambda: all(request.disconnected.is_set() for request in requests), 10, "the end of the provider's calls")
    closed = sorted(request.disconnected_at - left_at[number_of(request)] for request in requests)
    ids = [one.request_id for one in seen]
    rows = wait_for(lambda: Usage.objects.filter(request_id__in=ids).count() == len(ids), 5, "the rows of all calls")
    off = [
        abs(row.completion_tokens - upstream_bill(requests, row.request_id))
        for row in Usage.objects.filter(request_id__in=ids)
    ]
    verdict.count(
        left=len(left_at), closed_within=f"{closed[-1]:.2f} s", rows_within=f"{rows:.1f} s", most_tokens_off=max(off)
    )
    verdict.check(closed[-1] <= 1, f"the provider's call is closed within 1 s: {closed[-1]:.2f} s")
    verdict.check(
        set(Usage.objects.filter(request_id__in=ids).values_list("state", flat=True)) == {"cancelled"}, "told"
    )
    check_books(verdict, upstream)


def upstream_bill(requests, call: str) -> int:
    return next(request.bill.completion for request in requests if request.headers[CALL_ID] == call)


@pytest.mark.long
def test_a_rolling_restart(site: Site, models: list[str], upstream: Upstream, verdict: Verdict):
    """T3: rolling restarts under load"""
    kinds = {"fine": Kind(KINDS["fine"].faults, stream=False), "slow": Kind(KINDS["slow"].faults, stream=True)}
    upstream.always(treated(kinds))
    rota, over = Rota(site.doors), threading.Event()
    restarts = 0

    def restart() -> None:
        nonlocal restarts
        while not over.is_set():
            door = site.doors[restarts % len(site.doors)]
            site.webs[door.port].send_signal(signal.SIGTERM)
            site.webs[door.port].wait(60)
            site.restart_web(door)
            restarts += 1
            over.wait(2)

    thread = in_background(restart)
    seen = Load(verdict.seed, kinds, models).run(rota, 3000, clients=64, rate=50)
    over.set()
    thread.join()
    rota.close()
    failed = [one for one in seen if one.status != 200 or not one.whole or ERROR in one.body]
    verdict.count(restarts=restarts, calls=len(seen), failed=len(failed))
    verdict.check(not failed, f"no call fails: {failed[:3]}")
    check_endings(verdict, seen)
    check_books(verdict, upstream)
    check_nothing_open(verdict, site.socket if verdict.long else None)


DEBIT = {"debit": Kind([Fault.answer(chunks=9)], fields={"max_tokens": 9})}
COSTS = 11
"""Tokens that each is billed: nine, and the two words of the prompt."""


def test_a_budget_is_used_up(site: Site, models: list[str], upstream: Upstream, verdict: Verdict):
    """M4 M5: one budget debited by all processes; Valkey flushed, then killed"""
    upstream.always(treated(DEBIT))
    calls, more = verdict.size((300, 0), (10_000, 2))
    amount = calls * COSTS * 6 // 10
    budget = budgets.add_budget(
        site.admin, scope="user", subject=str(site.caller.pk), what="tokens", amount=amount, window="month"
    )
    before = tokens_of(site)
    doors = [*site.doors, *(Client(site.start_web(), site.key) for _ in range(more))]
    site.announce()
    thread = in_background(lambda: valkey_goes(site, verdict.size((1.0, 1.0), (20.0, 20.0))))
    seen = Load(verdict.seed, DEBIT, models).run(doors, calls, clients=verdict.size(16, 64))
    thread.join()
    window = budget.windows.get()
    given_back = wait_for(lambda: not given_out(window), 60, "credit that is given back")
    spent, ledger = window.spent, tokens_of(site) - before
    codes = Counter(one.code for one in seen if not one.fine)
    verdict.count(
        processes=len(doors), calls=len(seen), passed=sum(one.fine for one in seen), refused=dict(codes),
        amount=amount, spent=spent, ledger_says=ledger, overspent=max(0, spent - amount), unused=amount - spent,
        credit_back_within=f"{given_back:.1f} s",
    )  # fmt: skip
    verdict.check(spent <= amount, f"nothing is overspent: {spent - amount}")
    verdict.check(spent == ledger, "ledger = budget")
    verdict.check(set(codes) == {"budget_exceeded"}, f"refused because it is used up: {dict(codes)}")
    verdict.check(amount - spent < 64 * len(doors) * 60, f"it can be used up: {amount - spent} are left")
    budgets.remove_budget(site.admin, budget)
    for door in doors[len(site.doors) :]:
        site.kill(site.webs[door.port])
    check_books(verdict, upstream)


def valkey_goes(site: Site, pauses: tuple[float, float]) -> None:
    time.sleep(pauses[0])
    site.flush_valkey()
    time.sleep(pauses[1])
    site.kill_valkey()
    site.forget_valkey()
    time.sleep(1)
    site.valkey = site.start_valkey()


def given_out(window: BudgetWindow) -> int:
    window.refresh_from_db()
    leased = sum(window.leases.values_list("amount", flat=True))
    assert leased == window.reserved, "the window knows its leases"
    return window.reserved


def tokens_of(site: Site) -> int:
    rows = Usage.objects.filter(user_id=site.caller.pk)
    found = rows.aggregate(prompt=Sum("prompt_tokens"), completion=Sum("completion_tokens"))
    return (found["prompt"] or 0) + (found["completion"] or 0)
