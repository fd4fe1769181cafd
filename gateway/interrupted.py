"""Calls that were under way when their process was killed, made into rows from the notes that it left.

What they used nobody was told, so it is estimated by the size of their prompts: providers bill what they were sent.
"""

import logging
from collections.abc import Iterable, Sequence

from prometheus_client import Counter
from pydantic import ValidationError

from connections.models import Model
from connections.providers.calls import Mode, Usage
from connections.secrets import Unreadable
from gateway.envelope import Problem
from gateway.ledger.journal import Booking
from gateway.ledger.notes import Note
from gateway.ledger.record import Record, Tried
from gateway.models import Job
from gateway.models import Usage as UsageRow

INTERRUPTED = Counter("mesh_ledger_interrupted_calls", "Calls of killed processes that were booked from their notes")
logger = logging.getLogger(__name__)


def book(notes: Sequence[Note], write: Booking) -> int:
    """Write the rows that are not there yet. Returns how many the database can never take."""
    settled = _settled([note.record.request_id for note in notes])
    rows = [_row(note) for note in notes if note.record.request_id not in settled]
    if not rows:
        return 0
    refused = len(write(rows))
    INTERRUPTED.inc(len(rows) - refused)
    logger.warning("A process was killed with %d calls under way; they are booked as interrupted", len(rows))
    return refused


def _settled(request_ids: Iterable[str]) -> set[str]:
    """Calls that need no row of ours: it was written, or is their job's, which has the whole answer."""
    written = set(UsageRow.objects.filter(request_id__in=request_ids).values_list("request_id", flat=True))
    answered = Job.objects.filter(state=Job.State.RUNNING, result__isnull=False).only("fence")
    return written | {job.request_id_of(job.fence) for job in answered}


def _row(note: Note) -> Record:
    record = note.record
    units = 1 if record.mode is Mode.RERANK else 0
    record.take_usage(Usage(note.prompt_tokens, 0, images=note.images, search_units=units, estimated=True))
    record.fail(Problem("interrupted", "The process that made this call was killed."))
    _price(record)
    record.add_attempts([*record.attempts, _last_attempt(record)])
    tokens = (record.prompt_tokens or 0) + (record.completion_tokens or 0)
    for window in note.windows:
        if (record.cost if window.in_money else tokens) != 0:
            record.budgets.append(window.id)
            if window.owner:
                record.leased[window.id] = window.owner
    return record


def _price(record: Record) -> None:
    """By what its model costs; one that is gone, or cannot be read, has no price."""
    models = Model.objects.select_related("connection").prefetch_related("prices")
    model = models.filter(pk=record.model_id).first() if record.model_id else None
    if model is None:
        return
    try:
        provider = model.connection.provider()
    except (Unreadable, ValidationError, LookupError):
        return
    record.price(provider, model.target, [price.own for price in model.prices.all()])


def _last_attempt(record: Record) -> Tried:
    assert record.connection_id is not None and record.model_id is not None  # noqa: S101 - it was sent somewhere
    return Tried(
        number=len(record.attempts) + 1,
        connection_id=record.connection_id,
        connection=record.connection,
        model_id=record.model_id,
        model=record.model,
        state=record.state,
        error_code=record.error_code,
        upstream_status=None,
        usage=record.usage,
        cost=record.cost,
        total_ms=0,
    )
