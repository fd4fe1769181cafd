"""Celery's entry points. Messages carry ids only and may come twice, late or never."""

from celery import shared_task

from access.threads import released
from gateway import idempotency, jobs
from gateway.budgets import leases, notices
from gateway.ledger import adding, partitions
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


@shared_task
def add_up_calls() -> None:
    adding.add_up()


@shared_task
def keep_ledger() -> None:
    """Make the months to come, and forget what is too old."""
    partitions.make_months()
    adding.forget()


@shared_task
def sweep_leases() -> None:
    """End the leases of processes that have died."""
    leases.sweep()


@shared_task
def watch_budgets() -> None:
    """Note what was reached, and let workers tell what is due."""
    notices.find()
    notices.announce_due(tell_of_budget.delay)


@shared_task
def tell_of_budget(pk: int) -> None:
    notices.tell(pk)


@shared_task
def forget_answers() -> None:
    idempotency.sweep()
