"""Accepted asynchronous work. The Job table is the queue; Celery messages only wake whoever looks into it.

A worker claims a job with one conditional update, which moves the fence; everything it writes later carries
that fence, so a worker that froze past its lease can change nothing. The database's clock decides.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.db import DatabaseError, OperationalError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerAway

from access.authentication import narrowed
from access.models import ApiKey, User
from access.principal import Principal
from access.threads import in_thread, insist
from connections.providers.calls import Mode
from connections.providers.calls import Usage as TokensUsed
from gateway import metering
from gateway.accepted import Prompt
from gateway.assembling import Assembly
from gateway.bodies import STREAMED
from gateway.envelope import Problem
from gateway.ledger.record import Record
from gateway.metering import Meter
from gateway.models import Job, Usage
from gateway.pipeline import Engine, engine

LEASE = timedelta(seconds=12)
HEARTBEAT = 2.0
"""Seconds; well below a third of the lease, because it also looks for a wish to cancel."""
DEADLINE = timedelta(minutes=30)
SILENT = timedelta(seconds=10)
"""A queued job nobody took for so long is announced again."""
MAX_CLAIMS = 3
INSISTENCE = 8
"""Seconds for which a job's end is tried to be written; less than what is left of a lease."""
SWEPT_AT_ONCE = 500
MAX_RESULT = 16 * 2**20
"""Bytes of a result that is kept; pictures can be large."""

Announce = Callable[[str], Any]
logger = logging.getLogger(__name__)
T = TypeVar("T")


class Lost(Exception):
    """The claim is not ours any more: the lease ran out, or the job was cancelled."""


def submit(owner: User, key_id: str, mode: Mode, model: str, request: dict[str, Any], announce: Announce) -> Job:
    """Accept a job: once this returns inside a committed transaction, it will end, whatever dies."""
    job = Job.objects.create(
        owner=owner,
        key_id=key_id,
        mode=mode,
        model=model,
        request=request,
        deadline=Now() + DEADLINE,
    )
    transaction.on_commit(lambda: _announce(announce, job.pk))
    return job


def cancel(job: Job) -> None:
    """End a queued job at once; ask the worker of a running one, which looks every two seconds."""
    waiting = Job.objects.filter(pk=job.pk, state=Job.State.QUEUED)
    if not waiting.update(state=Job.State.CANCELLED, finished_at=Now()):
        Job.objects.filter(pk=job.pk, state=Job.State.RUNNING).update(cancel_requested=True)


def claim(pk: str) -> Job | None:
    """Take the job if nobody else holds it."""
    free = Q(state=Job.State.QUEUED) | Q(state=Job.State.RUNNING, lease_until__lt=Now())
    found = Job.objects.filter(free, pk=pk, deadline__gt=Now(), fence__lt=MAX_CLAIMS, result__isnull=True)
    taken = found.update(
        state=Job.State.RUNNING,
        fence=F("fence") + 1,
        lease_until=Now() + LEASE,
        started_at=Now(),
        progress=0,
    )
    if not taken:
        return None
    job = Job.objects.select_related("owner").get(pk=pk)
    if job.fence > 1:
        _write_lost(job, job.fence - 1)
    return job


def sweep(announce: Announce) -> None:
    """Wake what sleeps, and end what can no longer succeed."""
    over = Q(lease_until=None) | Q(lease_until__lt=Now())
    open_jobs = Job.objects.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]).select_related("owner")
    _conclude(open_jobs.filter(over, result__isnull=False))
    _fail(open_jobs.filter(over, deadline__lte=Now()), "deadline", "The job did not end before its deadline.")
    dead = open_jobs.filter(over, fence__gte=MAX_CLAIMS)
    _fail(dead, "poison", f"The job was given up after {MAX_CLAIMS} workers died or froze while running it.")
    sleeping = open_jobs.filter(over, announced_at__lt=Now() - SILENT)
    for pk in list(sleeping.order_by("created_at").values_list("pk", flat=True)[:SWEPT_AT_ONCE]):
        if sleeping.filter(pk=pk).update(announced_at=Now()):
            _announce(announce, pk)


def _conclude(jobs: QuerySet[Job]) -> None:
    """Those whose worker died when it had the whole answer: nobody need be asked, or paid, again."""
    for job in jobs[:SWEPT_AT_ONCE]:
        _write_lost(job, job.fence - 1)
        _write_answered(job)
        ended = {"state": Job.State.SUCCEEDED, "request_id": job.request_id_of(job.fence), "finished_at": Now()}
        jobs.filter(pk=job.pk, fence=job.fence).update(lease_until=None, **ended)


def _fail(jobs: QuerySet[Job], code: str, message: str) -> None:
    error = {"code": code, "message": message}
    for job in jobs[:SWEPT_AT_ONCE]:
        _write_lost(job, job.fence)
        jobs.filter(pk=job.pk).update(state=Job.State.FAILED, error=error, finished_at=Now(), lease_until=None)


def _write_lost(job: Job, claims: int) -> None:
    """The calls of so many claims that ended without a word: what they cost, nobody knows. Rows there are stay."""
    _write([_lost(job, claim) for claim in range(1, claims + 1)])


def _write(records: list[Record]) -> None:
    """Those that are not written down yet."""
    ids = [record.request_id for record in records]
    known = set(Usage.objects.filter(request_id__in=ids).values_list("request_id", flat=True))
    if missing := [record for record in records if record.request_id not in known]:
        metering.commit(missing)


def _write_answered(job: Job) -> None:
    """The call that brought the answer at hand, unless it was written down: its tokens were told, its price was not."""
    record, told = _record(job, job.fence), (job.result or {})["usage"]
    record.take_usage(TokensUsed(told["prompt_tokens"], told["completion_tokens"]))
    _write([record])


def _record(job: Job, claim: int) -> Record:
    record = Record.of(job.owner.principal, Mode(job.mode), "generation", job.request_id_of(claim))
    record.key_id, record.model = job.key_id, job.model
    return record


def _lost(job: Job, claim: int) -> Record:
    record = _record(job, claim)
    record.fail(Problem("internal_error", "The worker that made this call died or froze."))
    return record


def _announce(announce: Announce, pk: Any) -> None:
    """Best effort: the sweeper announces again what nobody heard."""
    try:
        announce(str(pk))
    except BrokerAway:
        logger.warning("The broker does not answer; job %s waits for the sweeper", pk)


# --- running ----------------------------------------------------------------------------------------------


class Claim:
    """One worker's hold on a job. Every write checks the fence."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._mine = Job.objects.filter(pk=job.pk, fence=job.fence, state=Job.State.RUNNING)

    def extend(self, progress: int) -> None:
        """Keep the lease, and report. Raises Lost."""
        live = self._mine.filter(cancel_requested=False, deadline__gt=Now())
        if not live.update(lease_until=Now() + LEASE, progress=progress):
            raise Lost

    def keep(self, result: dict[str, Any]) -> None:
        """The whole answer, before it is charged: should we die now, the job ends with it."""
        self._mine.update(result=result)

    def finish(self, state: str, request_id: str, **outcome: Any) -> bool:
        return bool(
            self._mine.update(state=state, finished_at=Now(), lease_until=None, request_id=request_id, **outcome)
        )

    def give_up(self, request_id: str) -> None:
        """After Lost: say why, if the job is still ours to say it of."""
        self._mine.filter(cancel_requested=True).update(
            state=Job.State.CANCELLED, finished_at=Now(), lease_until=None, request_id=request_id
        )


async def run(job: Job) -> None:
    """Ask the model and write down the outcome, under the rights that the owner has now."""
    held, request_id, assembly = Claim(job), job.request_id_of(job.fence), Assembly(Mode(job.mode))
    asking = asyncio.ensure_future(_ask(await engine(), held, request_id, assembly))
    keeping = asyncio.ensure_future(_keep(held, assembly))
    done, _ = await asyncio.wait({asking, keeping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (asking, keeping):
        task.cancel()
    await asyncio.gather(asking, keeping, return_exceptions=True)
    if asking not in done:
        await insist(INSISTENCE, held.give_up, request_id)
        return
    error = asking.exception()
    if isinstance(error, DatabaseError):
        raise error  # ours, not the job's: it is claimed again when the lease has run out
    if error is None:
        result = {"result": asking.result(), "progress": assembly.characters}
        await insist(INSISTENCE, held.finish, Job.State.SUCCEEDED, request_id, **result)
    else:
        reason = {"error": _reason(job, error, request_id), "result": None}
        await insist(INSISTENCE, held.finish, Job.State.FAILED, request_id, **reason)


def _reason(job: Job, error: BaseException, request_id: str) -> dict[str, Any]:
    """The error contract's object."""
    problem = error if isinstance(error, Problem) else Problem("internal_error", "The job failed inside.")
    if problem is not error:
        logger.error("Job %s failed inside", job.pk, exc_info=error)
    found: dict[str, Any] = json.loads(problem.body(request_id))["error"]
    return found


async def _ask(running: Engine, held: Claim, request_id: str, assembly: Assembly) -> dict[str, Any]:
    job, mode = held.job, Mode(held.job.mode)
    principal = await insist(INSISTENCE, _principal, job)
    await _until_written(running.meter)
    body = dict(job.request)
    if mode in STREAMED:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    prompt = Prompt(principal, mode, json.dumps(body).encode(), "generation", request_id)
    if mode not in STREAMED:
        return result_of((await running.ask(prompt)).body)
    async with running.stream(prompt) as stream:
        async for chunk in stream:
            assembly.feed(chunk)
            if assembly.complete:
                await insist(INSISTENCE, held.keep, assembly.whole())
    return assembly.whole()


async def _until_written(meter: Meter) -> None:
    """While the ledger is away, callers are refused; a job has time until its deadline."""
    for _ in range(int(DEADLINE.total_seconds())):
        if not meter.away:
            return
        await asyncio.sleep(1)


def result_of(answer: bytes) -> dict[str, Any]:
    """The answer as it is stored. Raises Problem for one that is too large."""
    if len(answer) > MAX_RESULT:
        raise Problem(
            "invalid_value",
            f"The result is larger than the {MAX_RESULT // 2**20} MiB that are kept. "
            "Ask for fewer or smaller pictures or texts, or for pictures by their address (response_format url).",
        )
    whole: dict[str, Any] = json.loads(answer)
    return whole


async def _keep(held: Claim, assembly: Assembly) -> None:
    """Hold the lease for as long as the work goes on. Ends, with Lost, only when it is not ours any more."""
    while True:
        await asyncio.sleep(HEARTBEAT)
        try:
            await in_thread(held.extend, assembly.characters)
        except OperationalError as error:
            logger.warning("A lease was not extended this time: %s", error)


def _principal(job: Job) -> Principal:
    """The rights of now, not of when the job was accepted. Raises Problem."""
    if not job.owner.is_active:
        raise Problem("invalid_api_key", "The owner of this job is not active any more.")
    if not job.key_id:
        return job.owner.principal
    key = ApiKey.objects.live().select_related("owner").filter(public_id=job.key_id).first()
    if key is None:
        raise Problem("invalid_api_key", "The API key that asked for this job is not valid any more.")
    return narrowed(key.owner.principal, key)
