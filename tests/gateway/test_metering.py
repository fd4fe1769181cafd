"""The ledger's writer: many calls share a commit, and none suffers for another's row."""

import asyncio
from functools import partial

from access import keys
from access.principal import Principal
from access.threads import in_thread
from connections.providers.calls import Mode
from gateway.envelope import Problem, new_request_id
from gateway.metering import Meter, Record
from gateway.models import Usage


def record(**columns):
    made = Record.of(Principal(1, "alice"), Mode.CHAT, "v1", new_request_id())
    for name, value in columns.items():
        setattr(made, name, value)
    return made


async def written(*records):
    """What became of each row, all of them waiting at once."""
    meter = Meter()
    await meter.start()
    outcomes = await asyncio.gather(*map(meter.write, records), return_exceptions=True)
    again = await asyncio.gather(meter.write(record()), return_exceptions=True)
    await meter.close()
    return [type(outcome) for outcome in outcomes + again]


async def test_rows_that_wait_together_are_all_written(transactional_db):
    assert await written(*(record() for _ in range(50))) == [type(None)] * 51
    assert await in_thread(Usage.objects.count) == 51


async def test_a_row_that_cannot_be_written_fails_only_its_own_call(transactional_db):
    outcomes = await written(record(), record(prompt_tokens=10**30), record())

    assert outcomes == [type(None), Problem, type(None), type(None)]
    assert await in_thread(Usage.objects.count) == 3


async def test_a_call_tells_when_its_key_was_last_used(transactional_db, alice):
    key, _ = await in_thread(partial(keys.issue, alice, "billing", scopes=["generate"]))

    await written(record(key_id=key.public_id))

    await in_thread(key.refresh_from_db)
    assert key.last_used_at is not None


async def test_a_row_is_written_once(transactional_db):
    once = record()

    assert await written(once, once) == [type(None), Problem, type(None)]
    assert await in_thread(Usage.objects.count) == 2
