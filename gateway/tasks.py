"""Celery's entry points. Messages carry ids only and may come twice, late or never."""

from celery import shared_task

from access.threads import released
from gateway import jobs
from gateway.pipeline import run


@shared_task
def run_job(pk: str) -> None:
    """Run the job unless somebody else has it or it has ended."""
    job = released(jobs.claim)(pk)
    if job is not None:
        run(jobs.run(job))


@shared_task
def sweep_jobs() -> None:
    jobs.sweep(run_job.delay)
