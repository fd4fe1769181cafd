"""Calls that are under way when their process is killed: notes outlive it, and become rows that say so."""

import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from access.principal import Principal
from access.threads import in_thread
from connections.models import Model
from connections.providers.calls import Mode
from gateway import interrupted, jobs
from gateway.budgets import leases
from gateway.envelope import new_request_id
from gateway.ledger import adding, notes, reconcile
from gateway.ledger.journal import HEAD
from gateway.ledger.notes import LEFT_OUT, SIZE, SLOT, SLOTS, Note, Notes, Window
from gateway.ledger.record import Record, Tried
from gateway.metering import Meter, commit, commit_each
from gateway.models import Attempt, Budget, BudgetLease, BudgetWindow, Job, Usage
from tests.chaos.load import CHAT, CUT
from tests.environment import DATA_DIR
from tests.gateway.contract import chat
from tests.gateway.test_journal import eventually, files, ids
from tests.mesh import Client, make_connection
from tests.upstream.faults import Fault
from tests.workers import Workers

GPT = "openai/gpt-4o-mini"


@pytest.fixture
def folder(settings, tmp_path):
    """The notes of this test alone."""
    settings.DATA_DIR = tmp_path
    return tmp_path / "journal"


def record(**columns):
    made = Record.of(Principal(1, "alice"), Mode.CHAT, "v1", new_request_id())
    made.connection_id, made.connection, made.model_id, made.model = uuid.uuid4(), "openai", uuid.uuid4(), GPT
    for name, value in columns.items():
        setattr(made, name, value)
    return made


def note(made=None, prompt_tokens=12, **more):
    return Note(made or record(), prompt_tokens, **more)


def left(folder, *calls):
    """As by a process that died: nobody holds the lock of its file."""
    own = Notes(folder)
    for call in calls:
        own.leave(call)
    own.close()


def found(folder):
    """The notes that whoever books them gets."""
    given = []
    notes.replay(folder, lambda some: given.extend(some) or 0)
    return given


def book(folder):
    notes.replay(folder, partial(interrupted.book, write=commit_each))


def row_of(call):
    return Usage.objects.get(request_id=call.record.request_id)


# --- the file


def test_what_was_under_way_is_found_and_the_file_goes(folder):
    calls = [note(windows=[Window(7, True, "somebody")]), note(images=2)]
    left(folder, *calls)

    assert found(folder) == calls
    assert files(folder) == []


def test_a_call_whose_row_is_safe_leaves_nothing(folder):
    own, calls = Notes(folder), [note() for _ in range(3)]
    for call in calls:
        own.leave(call)

    own.clear(calls[1].record.request_id)
    own.clear("req_unknown")
    own.close()

    assert found(folder) == [calls[0], calls[2]]


def test_a_process_that_ends_in_order_leaves_no_file(folder):
    own, call = Notes(folder), note()
    own.leave(call)
    assert files(folder) == [".notes"]

    own.clear(call.record.request_id)
    own.close()

    assert files(folder) == []


def test_a_second_attempt_is_noted_in_place_of_the_first(folder):
    first = note()
    second = Note(first.record, 99)
    left(folder, first, second)

    assert found(folder) == [second]


def no_head(data):
    data[:8] = bytes(8)


def half_a_head(data):
    data[2:8] = bytes(6)


def no_end(data):
    data[200:SLOT] = bytes(SLOT - 200)


def of_another(data):
    data[:] = data.replace(b"alice", b"clive", 1)


def too_long(data):
    HEAD.pack_into(data, 0, 2**32 - 1, 0)


@pytest.mark.parametrize("spoil", [no_head, half_a_head, no_end, of_another, too_long])
def test_a_note_that_is_not_whole_is_none(folder, spoil):
    calls = [note(), note()]
    left(folder, *calls)
    (file,) = folder.iterdir()
    data = bytearray(file.read_bytes())
    spoil(data)
    file.write_bytes(data)

    assert found(folder) == calls[1:]


def test_a_note_is_none_until_all_of_it_is_written(folder, monkeypatch):
    """Its process is killed when it has written the note, and not yet that there is one."""
    monkeypatch.setattr(notes, "HEAD", Dies())
    own = Notes(folder)
    with pytest.raises(KeyboardInterrupt):
        own.leave(note())
    monkeypatch.undo()
    (file,) = folder.iterdir()
    assert b"alice" in file.read_bytes()

    assert list(notes._read(file.read_bytes())) == []
    own.close()


class Dies:
    size = HEAD.size

    def pack_into(self, *_):
        raise KeyboardInterrupt


def test_the_file_of_a_living_process_is_left_alone(folder):
    own, call = Notes(folder), note()
    own.leave(call)

    assert found(folder) == []
    assert files(folder) == [".notes"]
    own.close()
    assert found(folder) == [call]


def test_a_full_file_is_followed_by_another(folder):
    own, calls = Notes(folder), [note() for _ in range(2 * SLOTS + 1)]
    for call in calls:
        own.leave(call)
    assert [path.stat().st_size for path in folder.iterdir()] == [SIZE] * 3

    for call in calls[:SLOTS]:
        own.clear(call.record.request_id)
    for again in calls[:SLOTS]:
        own.leave(again)
    assert len(files(folder)) == 3
    own.close()

    assert ids(*(one.record for one in found(folder))) == ids(*(one.record for one in calls))


@pytest.mark.parametrize("why", ["too long", "no folder"])
def test_a_call_without_room_for_its_note_is_counted(folder, why):
    counted = LEFT_OUT._value.get()
    if why == "no folder":
        folder.write_text("no folder")

    left(folder, note(record(model="m" * SLOT) if why == "too long" else None))

    assert LEFT_OUT._value.get() == counted + 1
    assert found(folder) == []


def test_a_file_that_finds_no_room_on_the_disk_is_none(folder, monkeypatch):
    own, call = Notes(folder), note()
    monkeypatch.setattr(notes.mmap, "mmap", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    own.leave(call)
    assert files(folder) == []

    monkeypatch.undo()
    own.leave(call)
    assert files(folder) == [], "it waits a while before it asks again"
    own._again = 0
    own.leave(call)
    own.close()

    assert found(folder) == [call]


# --- its rows


def test_a_call_becomes_a_row_that_says_what_it_is(transactional_db, upstream, folder):
    model = Model.objects.get(connection=make_connection(upstream, "openai"))
    call = note(record(model_id=model.pk, connection_id=model.connection_id, stream=True, route="fast", key_id="abc"))
    left(folder, call)

    book(folder)

    row = row_of(call)
    assert (row.id, row.at, row.key_id, row.route) == (call.record.id, call.record.at, "abc", "fast")
    assert (row.state, row.status, row.error_code, row.stream) == ("error", 500, "interrupted", True)
    assert (row.prompt_tokens, row.completion_tokens, row.estimated) == (12, 0, True)
    assert row.cost == 12 * 150
    assert row.price_source
    (attempt,) = row.attempts.all()
    assert (attempt.number, attempt.state, attempt.error_code, attempt.cost) == (1, "error", "interrupted", row.cost)


def test_a_call_of_a_model_that_is_gone_costs_nobody_knows_what(transactional_db, folder):
    call = note()
    left(folder, call)

    book(folder)

    assert (row_of(call).cost, row_of(call).prompt_tokens) == (None, 12)


@pytest.mark.parametrize(("mode", "images", "searches"), [(Mode.IMAGE, 3, 0), (Mode.RERANK, 0, 1)])
def test_pieces_that_were_asked_for_are_counted(transactional_db, folder, mode, images, searches):
    call = note(record(mode=mode), images=images)
    left(folder, call)

    book(folder)

    assert (row_of(call).images, row_of(call).search_units) == (images, searches)


def test_attempts_that_failed_before_are_kept(transactional_db, folder):
    failed = Tried(1, uuid.uuid4(), "azure", uuid.uuid4(), "azure/gpt", "error", "overloaded", 503, None, None, 12)
    call = note(record(attempts=[failed]))
    left(folder, call)

    book(folder)

    attempts = row_of(call).attempts.values_list("number", "connection", "error_code", "prompt_tokens")
    assert list(attempts) == [(1, "azure", "overloaded", None), (2, "openai", "interrupted", 12)]


def test_a_row_that_is_there_stays_as_it_is(transactional_db, folder):
    call = note()
    told = record(id=call.record.id, at=call.record.at, request_id=call.record.request_id, prompt_tokens=3, cost=7)
    commit([told])
    left(folder, call)

    book(folder)

    assert (row_of(call).state, row_of(call).prompt_tokens, row_of(call).cost) == ("ok", 3, 7)
    assert not Attempt.objects.exists()
    assert files(folder) == []


def test_a_row_that_comes_while_the_note_is_booked_stays_as_it_is(transactional_db, folder):
    """Its process was killed while it committed."""
    call = note()
    told = record(id=call.record.id, at=call.record.at, request_id=call.record.request_id, prompt_tokens=3)
    left(folder, call)

    def write(rows):
        commit([told])
        return commit_each(rows)

    notes.replay(folder, partial(interrupted.book, write=write))

    assert (row_of(call).state, row_of(call).prompt_tokens) == ("ok", 3)


def test_a_call_that_the_database_never_takes_is_kept(transactional_db, folder, caplog):
    calls = [note(prompt_tokens=2**63 + 1), note()]
    left(folder, *calls)

    book(folder)

    assert row_of(calls[1])
    assert files(folder) == [".rest"]
    assert "1 of 2 calls could not be booked" in caplog.text


@pytest.mark.parametrize("leased", [True, False], ids=["leased", "swept"])
def test_it_is_booked_on_its_budgets_and_the_books_agree(transactional_db, upstream, folder, leased):
    model = Model.objects.get(connection=make_connection(upstream, "openai"))
    windows = {}
    for what in ("tokens", "money"):
        budget = Budget.objects.create(scope="all", what=what, amount=10**9, window="day")
        windows[what] = opened = leases.open_window(budget.pk, "").window
        leases.acquire(opened, "the dead", [100_000], 0, 0)
    if not leased:
        BudgetLease.objects.update(expires_at=Now() - timedelta(seconds=1))
        leases.sweep()
    at = timezone.now() - timedelta(hours=2)
    if at.date() != timezone.now().date():
        at = timezone.now()
    on = [Window(windows["tokens"], False, "the dead"), Window(windows["money"], True, "the dead")]
    call = note(record(at=at, model_id=model.pk, connection_id=model.connection_id), windows=on)
    commit([record(at=at)])
    adding.add_up()
    left(folder, call)

    book(folder)
    adding.add_up()

    spent = {one.pk: (one.spent, one.reserved) for one in BudgetWindow.objects.all()}
    held = 100_000 if leased else 0
    assert spent[windows["tokens"]] == (12, max(0, held - 12))
    assert spent[windows["money"]] == (12 * 150, max(0, held - 12 * 150))
    assert sorted(row_of(call).budgets) == sorted(windows.values())
    day = timedelta(days=1)
    assert list(reconcile.differences(at - day, at + day)) == []


def test_a_cost_that_nobody_knows_counts_as_unknown(transactional_db, folder):
    budget = Budget.objects.create(scope="all", what="money", amount=10**9, window="day")
    window = leases.open_window(budget.pk, "").window
    left(folder, note(windows=[Window(window, True, "")]))

    book(folder)

    assert BudgetWindow.objects.values_list("spent", "unknown").get() == (0, 1)


# --- jobs: each claim makes one call, and its request id can be written down once


@pytest.fixture
def job(transactional_db, alice):
    request = {"model": GPT, "messages": [{"role": "user", "content": "hi"}]}
    made = jobs.submit(alice, "", Mode.CHAT, GPT, request, [].append)
    return jobs.claim(made.pk)


def claimed(job):
    return note(record(source="generation", request_id=job.request_id_of(job.fence)))


def expire():
    Job.objects.update(lease_until=Now() - timedelta(seconds=1))


def test_a_killed_workers_call_is_written_down_once_and_its_job_goes_on(job, folder):
    left(folder, claimed(job))
    book(folder)
    expire()

    again = jobs.claim(job.pk)

    assert again.fence == 2
    row = Usage.objects.get()
    assert (row.request_id, row.error_code, row.prompt_tokens) == (job.request_id_of(1), "interrupted", 12)


def test_a_call_that_its_sweeper_wrote_down_is_not_written_again(job, folder, caplog):
    expire()
    jobs.claim(job.pk)
    left(folder, claimed(job))

    book(folder)

    assert Usage.objects.get().error_code == "internal_error"
    assert files(folder) == []
    assert not caplog.text


def test_the_call_of_a_worker_that_died_with_the_answer_is_its_jobs_to_write(job, folder):
    jobs.Claim(job).keep({"choices": ["an answer"], "usage": {"prompt_tokens": 5, "completion_tokens": 7}})
    left(folder, claimed(job))
    book(folder)
    expire()

    jobs.sweep([].append)

    row = Usage.objects.get()
    assert (row.request_id, row.state, row.completion_tokens) == (job.request_id_of(1), "ok", 7)


# --- a process


async def test_a_row_that_is_safe_nowhere_keeps_its_note(folder, database):
    meter, call = Meter(), note()
    await meter.start()
    meter.notes.leave(call)
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    await in_thread(database.leave)
    with suppress(Exception):
        await meter.write(call.record)
    folder.unlink()
    folder.with_name("away").rename(folder)
    await in_thread(database.come_back)
    await meter.close()

    assert len(found(folder)) == 1


def test_answered_calls_leave_no_notes(folder, mesh, upstream, analysts, alice, key_for, connect):
    connect("openai", group=analysts)
    mesh.key = key_for(alice)
    mesh.refresh()

    for stream in (False, True):
        assert mesh.post(CHAT, chat(stream=stream)).status == 200
    upstream.script(Fault.status(400))
    assert mesh.post(CHAT, chat()).status == 400

    (file,) = folder.iterdir()
    assert list(notes._read(file.read_bytes())) == []
    mesh.stop()
    assert files(folder) == []


class Site:
    """Web processes on a data folder of their own."""

    def __init__(self, folder, key):
        shutil.copytree(DATA_DIR / "secrets", folder.parent / "secrets")
        self.processes, self.folder, self.key = Workers(folder.parent), folder, key
        self.processes.environment.pop("REDIS_URL")
        self.pool = ThreadPoolExecutor(4)

    def start(self):
        return Client(self.processes.start_web(MESH_DATA_DIR=str(self.folder.parent)), self.key)

    def ask(self, door, **fields):
        def ask():
            with suppress(*CUT):
                door.post(CHAT, chat(**fields))

        self.pool.submit(ask)

    def kill(self, door):
        self.processes.kill(self.processes.webs[door.port])

    def stop(self):
        self.processes.stop()
        self.pool.shutdown()
        print(self.processes.log.read_text()[-4000:])


@pytest.fixture
def site(folder, transactional_db, upstream, alice, key_for):
    make_connection(upstream, "openai", group=alice.groups.get(), retries=1)
    running = Site(folder, key_for(alice))
    yield running
    running.stop()


@pytest.mark.timeout(240)
def test_calls_of_a_killed_process_get_their_rows(site, upstream, alice):
    for what in ("tokens", "money"):
        Budget.objects.create(scope="all", what=what, amount=10**9, window="day")
    upstream.always(Fault.silence())
    first, second = site.start(), site.start()
    site.ask(first)
    site.ask(first, stream=True)
    site.ask(second)
    assert eventually(lambda: len(upstream.requests) == 3)
    upstream.script(Fault.status(503))
    site.ask(first, max_tokens=7)
    assert eventually(lambda: len(upstream.requests) == 5)

    site.kill(first)
    assert eventually(lambda: Usage.objects.count() == 3)

    rows = list(Usage.objects.all())
    assert {(row.state, row.status, row.error_code, row.estimated) for row in rows} == {
        ("error", 500, "interrupted", True)
    }
    assert {(row.user_id, row.model, row.connection, row.source) for row in rows} == {(alice.pk, GPT, "openai", "v1")}
    assert sorted(row.stream for row in rows) == [False, False, True]
    assert sorted(row.attempts.count() for row in rows) == [1, 1, 2]
    assert all(row.prompt_tokens and row.cost for row in rows)
    spent = dict(BudgetWindow.objects.values_list("budget__what", "spent"))
    assert spent == {"tokens": sum(row.prompt_tokens for row in rows), "money": sum(row.cost for row in rows)}
    day = timedelta(days=1)
    assert list(reconcile.differences(timezone.now() - day, timezone.now() + day)) == []

    site.kill(second)
    assert Usage.objects.count() == 3
    site.start()
    assert eventually(lambda: Usage.objects.count() == 4)
    assert eventually(lambda: not files(site.folder))
