"""The ledger's writer: many calls share a commit, and none suffers for another's row."""

import asyncio
import time
import uuid
from functools import partial

import pytest

from access import keys
from access.principal import Principal
from access.threads import in_thread
from connections.prices import OwnPrice
from connections.providers.calls import Mode, Target
from connections.providers.calls import Usage as ProviderUsage
from connections.providers.openai import OpenAI
from gateway.envelope import Problem, new_request_id
from gateway.ledger.record import Record, Tried, new_id
from gateway.metering import Meter, commit
from gateway.models import Attempt, Usage


def record(**columns):
    made = Record.of(Principal(1, "alice"), Mode.CHAT, "v1", new_request_id())
    for name, value in columns.items():
        setattr(made, name, value)
    return made


def tried(number):
    return Tried(number, uuid.uuid4(), "openai", uuid.uuid4(), "openai/gpt-4o", "error", "", 503, None, None, 12)


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


def priced(**usage):
    """A record of a call at a dollar's million per picture."""
    openai = OpenAI(OpenAI.Settings(api_key="sk-x"))
    made, own = record(), [OwnPrice(1, {"image": "1000000", "call": "0"}, 0, None)]
    made.take_usage(ProviderUsage(0, 0, **usage))
    made.price(openai, Target("dall-e", Mode.IMAGE), own)
    return made


@pytest.mark.parametrize(("images", "cost", "suspect"), [(1, 10**15, True), (10**7, 10**15, True), (0, 0, False)])
async def test_an_absurd_cost_is_cut_and_marked(transactional_db, images, cost, suspect):
    told = priced(images=images)

    assert await written(told) == [type(None)] * 2
    row = await in_thread(Usage.objects.get, pk=told.id)
    assert (row.images, row.cost, row.suspect) == (images, cost, suspect)


async def test_a_row_is_written_once(transactional_db):
    once = record(error_code="overloaded", attempts=[tried(1), tried(2)])

    assert await written(once, once) == [type(None)] * 3
    await in_thread(commit, [once, record()])
    assert await in_thread(Usage.objects.count) == 3
    assert await in_thread(Attempt.objects.count) == 2


def test_ids_are_in_the_order_of_time_and_each_is_its_own():
    before = new_id()
    time.sleep(0.002)
    ids = [new_id() for _ in range(1000)]

    assert min(ids) > before
    assert len(set(ids)) == 1000
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}


async def test_every_column_is_kept_as_it_was_told(transactional_db):
    """Rows are written past the ORM, so each kind of value is read back through it."""
    told = record(
        connection_id=uuid.uuid4(),
        user_id=2**40,
        stream=True,
        cost=-(2**63),
        prompt_tokens=2**63 - 1,
        first_token_ms=7,
        adjusted=["n split into 2 requests", 'a "quoted" ü'],
    )

    await written(told, record())

    row = await in_thread(Usage.objects.get, pk=told.id)
    columns = [column.attname for column in Usage._meta.concrete_fields]
    assert {name: getattr(row, name) for name in columns} == {name: getattr(told, name) for name in columns}


@pytest.mark.parametrize("said", ["null\0", "half \ud800", "x" * 2_000_000, "\\N\t\"'\n", "モデル" * 200])
async def test_what_a_provider_calls_itself_spoils_no_row(transactional_db, said):
    told = record()
    told.take_answer(said, said)

    assert await written(told) == [type(None)] * 2
    row = await in_thread(Usage.objects.get, pk=told.id)
    expected = said.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    assert (row.finish_reason, row.upstream_model) == (expected[:20], expected[:300])
