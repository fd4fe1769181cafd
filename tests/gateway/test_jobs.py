"""The Job table as a queue: claims, fences, leases, the sweeper."""

import asyncio
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from access.threads import insist
from connections.providers.calls import Mode
from gateway import jobs
from gateway.envelope import Problem
from gateway.ledger.record import Record
from gateway.metering import Meter, commit
from gateway.models import Job, Usage

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def job(alice, heard) -> Job:
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return jobs.submit(alice, "", Mode.CHAT, "m", request, heard.append)


def test_a_job_is_claimed_once(job):
    first, second = jobs.claim(job.pk), jobs.claim(job.pk)

    assert first is not None
    assert first.fence == 1
    assert second is None


def test_a_job_is_announced_when_its_transaction_commits(job, heard, django_capture_on_commit_callbacks, alice):
    with django_capture_on_commit_callbacks(execute=True):
        accepted = jobs.submit(alice, "", Mode.CHAT, "m", {}, heard.append)

    assert heard == [str(accepted.pk)]


def test_an_expired_lease_is_claimed_again_and_the_old_claim_can_write_nothing(job):
    frozen = jobs.Claim(jobs.claim(job.pk))
    Job.objects.update(lease_until=Now() - timedelta(seconds=1))

    taken = jobs.claim(job.pk)

    assert taken.fence == 2
    with pytest.raises(jobs.Lost):
        frozen.extend(5)
    assert not frozen.finish(Job.State.SUCCEEDED, "req_old", result={"from": "the frozen one"})
    assert jobs.Claim(taken).finish(Job.State.SUCCEEDED, "req_new", result={"from": "the new one"})
    job.refresh_from_db()
    assert (job.state, job.result, job.request_id) == ("succeeded", {"from": "the new one"}, "req_new")


def test_the_call_of_a_dead_claim_is_written_down_as_unknown(job):
    jobs.claim(job.pk)
    Job.objects.update(lease_until=Now() - timedelta(seconds=1))

    jobs.claim(job.pk)

    row = Usage.objects.get()
    assert (row.state, row.error_code, row.prompt_tokens, row.cost) == ("error", "internal_error", None, None)
    assert (row.source, row.user_id, row.model) == ("generation", job.owner_id, "m")


def test_the_call_of_a_dead_claim_is_written_down_once(job):
    """Its worker died between the call's row and the job's end."""
    first = jobs.claim(job.pk)
    told = Record.of(job.owner.principal, Mode.CHAT, "generation", first.request_id_of(1))
    told.prompt_tokens = told.completion_tokens = 3
    commit([told])
    Job.objects.update(lease_until=Now() - timedelta(seconds=1))

    jobs.claim(job.pk)

    assert Usage.objects.get().prompt_tokens == 3


def test_a_job_whose_worker_died_with_the_answer_in_hand_is_not_asked_again(job, heard):
    answer = {"choices": ["an answer"], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
    jobs.Claim(jobs.claim(job.pk)).keep(answer)
    Job.objects.update(lease_until=Now() - timedelta(seconds=1))

    assert jobs.claim(job.pk) is None
    jobs.sweep(heard.append)

    job.refresh_from_db()
    assert (job.state, job.result, job.lease_until) == ("succeeded", answer, None)
    row = Usage.objects.get()
    assert (row.request_id, row.state, row.cost) == (job.request_id, "ok", None)
    assert (row.prompt_tokens, row.completion_tokens) == (5, 7)


def test_an_ended_job_is_not_ended_again(job):
    held = jobs.Claim(jobs.claim(job.pk))

    assert held.finish(Job.State.SUCCEEDED, "req_1", result={})
    assert not held.finish(Job.State.FAILED, "req_1", error={})


def test_a_queued_job_is_cancelled_at_once(job):
    jobs.cancel(job)

    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED
    assert jobs.claim(job.pk) is None


def test_a_running_job_learns_that_it_shall_be_cancelled(job):
    held = jobs.Claim(jobs.claim(job.pk))

    jobs.cancel(job)

    with pytest.raises(jobs.Lost):
        held.extend(0)
    held.give_up("req_1")
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED


def test_the_sweeper_announces_what_nobody_heard(job, heard):
    jobs.sweep(heard.append)
    assert heard == []

    Job.objects.update(announced_at=Now() - timedelta(seconds=11))
    jobs.sweep(heard.append)
    jobs.sweep(heard.append)

    assert heard == [str(job.pk)]


def test_the_sweeper_parks_a_job_that_kills_its_workers(job, heard):
    for _ in range(jobs.MAX_CLAIMS):
        assert jobs.claim(job.pk) is not None
        Job.objects.update(lease_until=Now() - timedelta(seconds=1))

    assert jobs.claim(job.pk) is None
    jobs.sweep(heard.append)

    job.refresh_from_db()
    assert (job.state, job.error["code"]) == ("failed", "poison")
    lost = Usage.objects.filter(source="generation", user_id=job.owner_id, state="error")
    assert sorted(lost.values_list("model", "prompt_tokens", "cost")) == [("m", None, None)] * jobs.MAX_CLAIMS


def test_the_sweeper_ends_a_job_past_its_deadline(job, heard):
    Job.objects.update(deadline=Now() - timedelta(seconds=1))

    jobs.sweep(heard.append)

    job.refresh_from_db()
    assert (job.state, job.error["code"]) == ("failed", "deadline")


def test_the_sweeper_leaves_a_job_that_is_being_run(job, heard):
    jobs.claim(job.pk)
    Job.objects.update(announced_at=Now() - timedelta(minutes=1))

    jobs.sweep(heard.append)

    job.refresh_from_db()
    assert (job.state, heard) == ("running", [])


def test_a_silent_broker_does_not_refuse_a_job(alice, django_capture_on_commit_callbacks):
    from kombu.exceptions import OperationalError

    def silent(pk: str) -> None:
        raise OperationalError("nobody there")

    with django_capture_on_commit_callbacks(execute=True):
        job = jobs.submit(alice, "", Mode.CHAT, "m", {}, silent)

    assert Job.objects.filter(pk=job.pk, state=Job.State.QUEUED).exists()


def test_rights_are_those_of_now(job, alice):
    alice.is_active = False
    alice.save()

    with pytest.raises(jobs.Problem, match="not active"):
        jobs._principal(Job.objects.get(pk=job.pk))


def test_a_job_of_a_revoked_key_runs_no_more(alice, key_for):
    from access.models import ApiKey

    key_for(alice)
    row = ApiKey.objects.get()
    job = jobs.submit(alice, row.public_id, Mode.CHAT, "m", {}, print)
    ApiKey.objects.update(revoked_at=Now())

    with pytest.raises(jobs.Problem, match="not valid any more"):
        jobs._principal(Job.objects.get(pk=job.pk))


@pytest.mark.django_db(transaction=True)
async def test_a_moment_without_the_database_loses_no_result(job):
    tries = []

    def work(answer: str) -> str:
        tries.append(answer)
        if len(tries) < 3:
            raise OperationalError("couldn't get a connection after 5.00 sec")
        return answer

    assert await insist(jobs.INSISTENCE, work, "kept") == "kept"
    assert len(tries) == 3


def test_a_result_that_is_too_large_is_not_kept():
    assert jobs.result_of(b'{"data": []}') == {"data": []}
    with pytest.raises(Problem, match="larger than the 16 MiB"):
        jobs.result_of(b" " * (jobs.MAX_RESULT + 1))


async def test_a_job_waits_while_the_ledger_is_away():
    meter = Meter()
    meter._refused = ["a row"]
    waiting = asyncio.create_task(jobs._until_written(meter))

    await asyncio.wait({waiting}, timeout=0.2)
    assert not waiting.done()

    meter._refused = []
    await waiting
