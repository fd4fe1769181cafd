"""J: accepted work ends, once, whatever dies. The long form is `make chaos`."""

import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction

from access import audit, keys
from access.roles import Scope
from connections.models import Grant
from gateway.jobs import MAX_CLAIMS
from gateway.limits import acts
from gateway.models import Job, Usage
from gateway.tasks import run_job
from tests.chaos.invariants import check_books, check_nothing_open
from tests.chaos.load import CUT
from tests.chaos.site import Killer, Site, kills_beat, kills_web, kills_worker, wait_for
from tests.chaos.verdicts import Verdict
from tests.chaos.watched import Watched, now, open_jobs
from tests.conftest import make_user
from tests.upstream.faults import Fault
from tests.upstream.server import Upstream

pytestmark = pytest.mark.timeout(1800)
ADDRESS = "/api/generations/"
ANSWER = Fault.answer(chunks=12, delay=0.1)
END = 120.0
"""Seconds after the last blow by which everything has ended: two leases, two sweeps, and a busy machine."""


@pytest.fixture(scope="module")
def processes() -> tuple[int, int]:
    return 2, 2


@pytest.fixture
def model(site: Site, upstream: Upstream) -> str:
    name = f"jobs-{time.monotonic_ns()}"
    site.connect(name)
    upstream.always(ANSWER)
    warm(site, f"{name}/local-chat")
    return f"{name}/local-chat"


def warm(site: Site, model: str) -> None:
    """The first job of a worker takes long; those of the scenario shall be struck in the midst of their calls."""
    submit_all(site, model, 32, 100)
    wait_for(lambda: not open_jobs(model).exists(), END, "the first jobs")
    Job.objects.all().delete()
    Usage.objects.all().delete()
    site.judge.reset()
    site.judge.always(ANSWER)


def submit(site: Site, model: str, number: int) -> str | None:
    """The job's id; None where nobody said 202."""
    body = {"model": model, "messages": [{"role": "user", "content": f"job {number}"}]}
    try:
        answer = site.doors[number % len(site.doors)].post(ADDRESS, body)
    except CUT:
        return None
    return answer.json["id"] if answer.status == 202 else None


def submit_all(site: Site, model: str, count: int, rate: float, *, twice: bool = False) -> list[str]:
    """At this rate per second; those whose door was away are offered until they are accepted.

    `twice`: a second message wakes somebody for each, as brokers do now and then.
    """
    started, accepted = time.monotonic(), []
    with ThreadPoolExecutor(8) as pool:

        def offer(number: int) -> str:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            while (job := submit(site, model, number)) is None:
                number += 1  # the other door
                time.sleep(0.05)
            if twice:
                time.sleep(0.3)
                run_job.delay(job)
            return job

        accepted = list(pool.map(offer, range(count)))
    return accepted


def judge(verdict: Verdict, site: Site, model: str, accepted: list[str]) -> None:
    wait_for(lambda: not open_jobs(model).exists(), END, f"the end of {open_jobs(model).count()} jobs")
    jobs = {str(job.pk): job for job in Job.objects.filter(model=model)}
    states = Counter(jobs[job].state if job in jobs else "lost" for job in accepted)
    parked = Counter((job.error or {}).get("code") for job in jobs.values() if job.state == "failed")
    rows = Usage.objects.filter(model=model, source="generation")
    charged = Counter(rows.filter(state="ok").values_list("request_id", flat=True))
    results = [job for job in jobs.values() if job.state == "succeeded"]
    again = sum(job.fence - 1 for job in jobs.values() if job.fence)
    verdict.count(
        jobs=len(accepted), succeeded=states["succeeded"], lost=states["lost"], claimed_again=again,
        failed=dict(parked) or 0,
    )  # fmt: skip
    verdict.check(states["lost"] == 0, "no accepted job is lost")
    ended = states["succeeded"] + sum(jobs[job].fence == MAX_CLAIMS for job in accepted if jobs[job].state == "failed")
    verdict.check(ended == len(accepted), f"every job succeeds, or is parked: {dict(states)} {dict(parked)}")
    verdict.check(set(parked) <= {"poison"}, f"none fails otherwise: {dict(parked)}")
    verdict.check(len({job.request_id for job in results}) == len(results), "each result is of a call of its own")
    uncharged = [job for job in results if charged[job.request_id] != 1]
    verdict.check(not uncharged, f"each result is charged once: {len(uncharged)} are not")
    doubled = sum(charged.values()) - len(results)
    verdict.count(doubled=doubled)
    verdict.check(doubled == 0, f"nothing is charged beside the results: {doubled} calls are")
    check_books(verdict, site.judge)
    check_nothing_open(verdict, site.socket if verdict.long else None)


def test_workers_are_killed(site: Site, model: str, verdict: Verdict):
    """J1 J2: workers killed"""
    killer = Killer(verdict.seed, verdict.size(3, 50), verdict.size((0.8, 1.5), (3.0, 6.0)))
    for place in range(2):
        killer.may_kill(f"worker {place}", kills_worker(site, place))
    with killer:
        accepted = submit_all(site, model, *verdict.size((60, 15), (2000, 9)), twice=True)
        killer.wait()
    verdict.count(kills=len(killer.struck))
    judge(verdict, site, model, accepted)


@pytest.mark.long
def test_any_process_is_killed(site: Site, model: str, verdict: Verdict):
    """J1 J2: workers, web processes and beat killed"""
    killer = Killer(verdict.seed, 50, (3.0, 6.0))
    for place in range(2):
        killer.may_kill(f"worker {place}", kills_worker(site, place))
    for door in site.doors:
        killer.may_kill(f"web {door.port}", kills_web(site, door))
    killer.may_kill("beat", kills_beat(site))
    with killer:
        accepted = submit_all(site, model, 2000, 9, twice=True)
        killer.wait()
    verdict.count(kills=len(killer.struck))
    judge(verdict, site, model, accepted)


def test_valkey_is_away(site: Site, model: str, verdict: Verdict):
    """J3: Valkey killed, back without data, then flushed"""
    count, away = verdict.size((6, 1.0), (200, 60.0))
    site.kill_valkey()
    accepted = submit_all(site, model, count, 50)
    time.sleep(away)
    site.forget_valkey()
    site.valkey = site.start_valkey()
    back = wait_for(lambda: not open_jobs(model).exists(), END, "the end of jobs accepted without Valkey")
    heard = wait_for(lambda: site.listening() == len(site.workers), END, "workers that listen to it again")
    accepted += submit_all(site, model, count, 50)
    site.flush_valkey()
    flushed = wait_for(lambda: not open_jobs(model).exists(), 60, "the end of jobs whose wake-ups were flushed")
    verdict.count(away=away, ended_after_return=round(back, 1), ended_after_flush=round(flushed, 1))
    verdict.count(all_listen_after=round(back + heard, 1))
    verdict.check(back <= 30, f"all run within 30 s of its return: {back:.1f} s")
    verdict.check(flushed <= 30, f"all run within 30 s of the flush: {flushed:.1f} s")
    judge(verdict, site, model, accepted)


@pytest.mark.long
def test_a_frozen_worker_cannot_write(site: Site, model: str, verdict: Verdict):
    """J4: workers frozen past their leases, then thawed"""
    accepted, rounds = [], 6
    for number in range(rounds):
        worker = site.workers[number % 2]
        accepted += submit_all(site, model, 20, 100)
        time.sleep(0.4)
        frozen = Job.objects.filter(model=model, state=Job.State.RUNNING).count()
        worker.send_signal(signal.SIGSTOP)
        wait_for(lambda: not open_jobs(model).exists(), END, f"the end of {frozen} jobs without the frozen worker")
        worker.send_signal(signal.SIGCONT)
    before = dict(Job.objects.filter(model=model).values_list("pk", "finished_at"))
    time.sleep(5)
    verdict.check(
        dict(Job.objects.filter(model=model).values_list("pk", "finished_at")) == before, "no ended job moves"
    )
    verdict.count(freezes=rounds)
    judge(verdict, site, model, accepted)


@pytest.mark.long
def test_poison_is_parked(site: Site, model: str, upstream: Upstream, verdict: Verdict):
    """J5: a job that kills its worker; the others go on"""
    deadly, deaths = threading.Event(), []

    async def act(exchange) -> None:
        if "job 666" in exchange.request.body.decode():
            deadly.set()
        await ANSWER.act(exchange)

    upstream.always(Fault("deadly", act, ANSWER.plan))
    poison = submit(site, model, 666)
    others = []
    while Job.objects.get(pk=poison).state not in Job.TERMINAL and len(deaths) < 6:
        if deadly.wait(1):
            deadly.clear()
            deaths.append(time.monotonic())
            for place in range(2):
                kills_worker(site, place)()
            others += submit_all(site, model, 20, 100)
    job = Job.objects.get(pk=poison)
    verdict.count(deaths=len(deaths), ended_as=f"{job.state} {(job.error or {}).get('code')}")
    verdict.check((job.state, (job.error or {}).get("code")) == ("failed", "poison"), "poison is parked")
    verdict.check(len(deaths) == 3, f"after three claims: {len(deaths)} deaths")
    judge(verdict, site, model, others)


CHANGES = {"revoked key": "invalid_api_key", "taken grant": "model_not_found", "used-up limit": "rate_limit_exceeded"}
"""What each is refused with."""
ENOUGH = 60
"""Calls and jobs together, after which the limit is used up."""


def test_changes_reach_every_process(site: Site, upstream: Upstream, verdict: Verdict):
    """K4: what is revoked, taken or used up ends everywhere within 2 s"""
    within = verdict.size(10, 2)  # the suite's machine may be busy
    all_watched = {what: watch(site, what) for what in CHANGES}
    site.announce()
    for watched in all_watched.values():
        watched.start()
    changed = {what: change(what, watched) for what, watched in all_watched.items()}
    for what, watched in all_watched.items():
        watched.stop()
        wait_for(lambda model=watched.model: not open_jobs(model).exists(), END, "the end of the watched jobs")
        watched.take_jobs()
        late = watched.late(changed[what])
        verdict.count(**{what: " ".join(f"{place} {seconds:.2f} s" for place, seconds in late.items())})
        for place, seconds in late.items():
            verdict.check(seconds <= within, f"{what}: {place} lets nothing through {within} s later: {seconds:.2f} s")
            verdict.check(set(watched.refusals[place]) == {CHANGES[what]}, f"{place}: {watched.refusals[place]}")
    passed = sum(map(len, all_watched["used-up limit"].passed.values()))
    verdict.count(passed_of_limit=f"{passed} of {ENOUGH}")
    verdict.check(passed == ENOUGH, f"all processes together let {ENOUGH} through: {passed}")


def watch(site: Site, what: str) -> Watched:
    """With a caller, a key and a connection of its own."""
    name = f"{what}-{time.monotonic_ns()}".replace(" ", "-")
    caller = make_user(name)
    key, text = keys.issue(caller, what, scopes=list(Scope.values))
    site.make_connection(name)
    if what == "used-up limit":
        acts.add_limit(site.admin, scope="key", subject=key.public_id, what="requests", amount=ENOUGH, seconds=86400)
    return Watched(site, f"{name}/local-chat", caller, key, text)


def change(what: str, watched: Watched) -> float:
    """Make it, once every process lets calls through; when it was made."""
    wait_for(watched.passes_everywhere, what="calls through every process")
    if what == "used-up limit":
        wait_for(lambda: watched.asked() >= ENOUGH, what="the end of the limit")
        return now()
    with transaction.atomic():
        if what == "revoked key":
            keys.revoke(watched.key)
        else:
            Grant.objects.filter(connection__models__public_id=watched.model).delete()
        audit.announce()
    return now()
