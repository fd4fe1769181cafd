"""While the database is away, rows wait in a file; no call that was answered is without its row."""

import asyncio
import fcntl
import http.client
import json
import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from zlib import crc32

import pytest
from django.db import connection, transaction

from access.principal import Principal
from access.threads import in_thread
from connections.providers.calls import Mode
from gateway import metering
from gateway.envelope import Problem, new_request_id
from gateway.ledger.journal import HEAD, Journal, replay
from gateway.ledger.record import Record, Tried
from gateway.metering import Meter, commit, commit_each
from gateway.models import Attempt, Usage
from tests.environment import DATA_DIR
from tests.gateway.contract import chat
from tests.mesh import make_connection
from tests.workers import PATIENCE, Workers

CHAT = "/v1/chat/completions"


@pytest.fixture
def folder(settings, tmp_path):
    """The journals of this test alone."""
    settings.DATA_DIR = tmp_path
    return tmp_path / "journal"


@pytest.fixture
def journal(folder):
    return Journal(folder)


@pytest.fixture
async def meter(folder, database):
    running = Meter()
    await running.start()
    yield running
    await running.close()


def record(**columns):
    made = Record.of(Principal(1, "alice"), Mode.CHAT, "v1", new_request_id())
    for name, value in columns.items():
        setattr(made, name, value)
    return made


def booked():
    return set(Usage.objects.values_list("request_id", flat=True))


def ids(*records):
    return {one.request_id for one in records}


def eventually(found, within=PATIENCE):
    until = time.monotonic() + within
    while not (result := found()) and time.monotonic() < until:
        time.sleep(0.02)
    return result


def files(folder):
    return sorted(path.suffix for path in folder.glob("*")) if folder.exists() else []


async def test_rows_wait_for_the_database_and_come_into_it(meter, database, folder):
    tried = Tried(1, uuid.uuid4(), "openai", uuid.uuid4(), "openai/x", "error", "", 503, None, None, 12)
    rows = [record(adjusted=["ü"], attempts=[tried], cost=7), record(), record()]
    await in_thread(database.leave)

    await asyncio.gather(*map(meter.write, rows[:2]))
    await meter.write(rows[2])
    assert (meter.away, files(folder)) == (True, [".rows"])
    await in_thread(database.come_back)

    assert await in_thread(eventually, lambda: not files(folder))
    assert not meter.away
    assert await in_thread(booked) == ids(*rows)
    first = await in_thread(Usage.objects.get, pk=rows[0].id)
    assert (first.adjusted, first.cost, first.at) == (["ü"], 7, rows[0].at)
    assert await in_thread(Attempt.objects.count) == 1


async def test_rows_do_not_wait_for_a_database_that_falls_silent(meter, folder, monkeypatch):
    monkeypatch.setattr(metering, "PATIENCE", 0.2)
    rows = [record(), record()]
    held, done = threading.Event(), threading.Event()
    holding = asyncio.create_task(in_thread(hold_the_ledger, held, done))
    await asyncio.to_thread(held.wait, PATIENCE)

    await asyncio.gather(*map(meter.write, rows))
    assert (meter.away, files(folder)) == (True, [".rows"])
    assert not done.is_set()
    done.set()
    await holding

    assert await in_thread(eventually, lambda: not meter.away and not files(folder))
    assert await in_thread(booked) == ids(*rows)


def hold_the_ledger(held, done):
    """Nobody else can write to it meanwhile."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE gateway_usage IN ACCESS EXCLUSIVE MODE")
        held.set()
        done.wait(PATIENCE)


async def test_what_is_no_journal_keeps_no_row_waiting(meter, database, folder):
    (folder / "0.rows").mkdir(parents=True)
    rows = [record(), record()]
    for row in rows:
        await in_thread(database.leave)
        await meter.write(row)
        await in_thread(database.come_back)
        assert await in_thread(eventually, lambda: not meter.away)

    assert await in_thread(eventually, lambda: booked() == ids(*rows))


async def test_a_row_that_is_safe_nowhere_fails_its_call(meter, database, folder):
    folder.write_text("no folder")
    await in_thread(database.leave)

    with pytest.raises(Problem, match="cannot be written"):
        await meter.write(record())

    folder.unlink()
    await in_thread(database.come_back)
    assert await in_thread(eventually, lambda: not meter.away)
    await meter.write(record())


def test_what_was_booked_before_is_not_booked_again(transactional_db, journal, folder):
    rows = [record(), record()]
    commit(rows[:1])
    journal.append(rows)
    journal.close()

    replay(folder, commit_each)

    assert booked() == ids(*rows)
    assert files(folder) == []


def test_a_file_that_ends_in_half_a_row_gives_the_whole_ones(transactional_db, journal, folder, caplog):
    rows = [record() for _ in range(3)]
    journal.append(rows)
    journal.close()
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-7])

    replay(folder, commit_each)

    assert booked() == ids(*rows[:2])
    assert files(folder) == [".rest"]
    assert "2 rows were booked; 0 rows and" in caplog.text


NO_ROW = b"\x81\xa1a\x01"  # {"a": 1}


@pytest.mark.parametrize(
    "spoilt", [b"\0" * 64, b"\xff" * 64, b"\5\0\0\0\0\0\0\0abcde", HEAD.pack(len(NO_ROW), crc32(NO_ROW)) + NO_ROW]
)
def test_bytes_that_are_no_row_are_kept_and_reported(transactional_db, journal, folder, caplog, spoilt):
    row = record()
    journal.append([row])
    journal.close()
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes() + spoilt)

    replay(folder, commit_each)

    assert booked() == ids(row)
    assert files(folder) == [".rest"]
    assert f"{len(spoilt)} bytes were not" in caplog.text


def test_a_row_that_the_database_never_takes_stops_no_other(transactional_db, journal, folder, caplog):
    rows = [record(), record(prompt_tokens=2**63 + 1), record()]
    journal.append(rows)
    journal.close()

    replay(folder, commit_each)

    assert booked() == ids(rows[0], rows[2])
    assert files(folder) == [".rest"]
    assert "1 rows and 0 bytes were not" in caplog.text


def test_no_file_is_booked_while_somebody_else_has_it(transactional_db, journal, folder):
    journal.append([record()])

    replay(folder, commit_each)
    assert (booked(), files(folder)) == (set(), [".rows"])

    journal.close()
    (file,) = folder.iterdir()
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        replay(folder, commit_each)
        assert (booked(), files(folder)) == (set(), [".rows"])
    replay(folder, commit_each)
    assert len(booked()) == 1


def test_many_book_one_file_and_every_row_once(transactional_db, journal, folder):
    rows = [record() for _ in range(300)]
    journal.append(rows)
    journal.close()
    given = []

    def book(records):
        given.extend(records)
        time.sleep(0.01)
        return commit_each(records)

    threads = [threading.Thread(target=partial(replay, folder, book)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(given) == 300
    assert booked() == ids(*rows)


@pytest.mark.parametrize("choice", ["refuse", "serve"])
def test_calls_are_served_or_refused_meanwhile_and_none_is_lost(
    settings, folder, database, mesh, connect, upstream, alice, analysts, key_for, choice
):
    settings.LEDGER_AWAY = choice
    connect("openai", group=analysts)
    mesh.key = key_for(alice)
    mesh.refresh()
    answers = [mesh.post(CHAT, chat())]
    database.leave()

    answers += [mesh.post(CHAT, chat()) for _ in range(4)]
    asked = len(upstream.requests)
    database.come_back()

    statuses = [answer.status for answer in answers]
    if choice == "serve":
        assert (statuses, asked) == ([200] * 5, 5)
    else:  # what showed that it is away was asked and answered
        assert (statuses, asked) == ([200, 200, 503, 503, 503], 2)
        assert (answers[-1].error["code"], answers[-1].headers["x-should-retry"]) == ("overloaded", "true")
    assert eventually(lambda: mesh.post(CHAT, chat()).status == 200)
    answered = [answer for answer in answers if answer.status == 200]
    assert all(mesh.usage(answer, within=20).state == "ok" for answer in answered)


class Site:
    """A web process under load from several callers."""

    def __init__(self, processes, folder, key):
        self.port = processes.start_web(MESH_DATA_DIR=str(folder), MESH_LEDGER_AWAY="serve")
        self.process = processes.running[-1]
        self.answered = set()
        self._key, self._pool = key, ThreadPoolExecutor(8)
        self._callers = [self._pool.submit(self._call) for _ in range(8)]

    def _call(self):
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        with suppress(OSError, http.client.HTTPException):  # it was killed
            while True:
                line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
                line.request("POST", CHAT, json.dumps(chat()).encode(), headers)
                answer = line.getresponse()
                if answer.status == 200 and answer.read():
                    self.answered.add(answer.headers["x-request-id"])

    def after(self, more):
        """Wait for so many more answers."""
        wanted = len(self.answered) + more
        assert eventually(lambda: len(self.answered) >= wanted), "no calls are answered"

    def kill(self, processes):
        processes.kill(self.process)
        self._pool.shutdown()


@pytest.mark.timeout(240)
def test_no_answered_call_is_without_its_row_when_processes_are_killed(folder, database, upstream, alice, key_for):
    shutil.copytree(DATA_DIR / "secrets", folder.parent / "secrets")
    make_connection(upstream, "openai", group=alice.groups.get())
    key = key_for(alice)
    processes = Workers(folder.parent)
    processes.environment.pop("REDIS_URL")
    try:
        first = Site(processes, folder.parent, key)
        first.after(30)
        database.leave()
        first.after(60)
        first.kill(processes)
        assert ".rows" in files(folder)
        database.come_back()

        second = Site(processes, folder.parent, key)
        second.after(30)
        second.kill(processes)
        processes.start_web(MESH_DATA_DIR=str(folder.parent))  # books what the second did not come to
        assert eventually(lambda: not files(folder))
        assert first.answered - booked() == set()
        assert second.answered - booked() == set()
    finally:
        processes.stop()
        print(processes.log.read_text()[-4000:])
