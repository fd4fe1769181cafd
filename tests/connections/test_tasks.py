"""Scheduled checks: who claims what, when, and what becomes of the history."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connections as databases
from django.utils import timezone

from access.models import AuditEvent
from connections import tasks
from connections.models import Connection, HealthCheck, Model, State
from connections.providers.calls import Mode
from gateway.models import Usage
from llmmesh.celery import app
from tests.upstream.faults import Fault

MODEL = "gpt-4o-mini"
LONG_AGO = timedelta(hours=1)


@pytest.fixture
def broker():
    """`broker()` takes what waits in the queue of checks."""

    def take() -> list:
        with app.connection_for_read() as connection, connection.SimpleQueue("health") as queue:
            messages = [queue.get_nowait() for _ in range(queue.qsize())]
            for message in messages:
                message.ack()
            return messages

    take()
    return take


def ids(messages: list) -> list[str]:
    """What the tasks are asked to do: their arguments, which are ids and nothing else."""
    for message in messages:
        positional, named, _ = message.payload
        assert (len(positional), named) == (1, {})
    return [message.payload[0][0] for message in messages]


@pytest.fixture
def due(connect):
    """`due(name="a", …)` gives a connection whose check is due."""

    def make(*args, name: str = "openai", **columns) -> Connection:
        columns = {"check_due": timezone.now() - LONG_AGO} | columns
        return connect("openai", *args, name=name, **columns)

    return make


@pytest.mark.django_db(transaction=True)
def test_eight_schedulers_at_once_hand_out_each_check_once(broker, due):
    connections = [due(name=f"c{number}") for number in range(5)]
    together, problems = threading.Barrier(8), []

    def schedule():
        try:
            together.wait()
            tasks.schedule_checks()
        except Exception as error:
            problems.append(error)
        finally:
            databases.close_all()

    schedulers = [threading.Thread(target=schedule) for _ in range(8)]
    for scheduler in schedulers:
        scheduler.start()
    for scheduler in schedulers:
        scheduler.join()

    assert problems == []
    assert sorted(ids(broker())) == sorted(str(connection.pk) for connection in connections)


def test_only_what_is_due_and_not_paused_is_checked(db, broker, due):
    due(name="paused", paused=True)
    due(name="later", check_due=timezone.now() + timedelta(seconds=5))
    now = due(name="now")

    tasks.schedule_checks()

    assert ids(broker()) == [str(now.pk)]


def test_a_check_whose_worker_died_is_handed_out_again_after_the_lease(db, broker, due):
    connection = due(check_every=86_400)
    tasks.schedule_checks()
    tasks.schedule_checks()
    assert len(broker()) == 1
    lease = Connection.objects.get().check_due - timezone.now()
    assert timedelta(seconds=80) < lease <= tasks.LEASE

    Connection.objects.update(check_due=timezone.now() - timedelta(milliseconds=10))
    tasks.schedule_checks()

    assert ids(broker()) == [str(connection.pk)]


@pytest.mark.django_db(transaction=True)
def test_a_check_writes_down_what_it_found(due, upstream):
    connection = due({MODEL: Mode.CHAT, "gpt-2": Mode.CHAT})

    tasks.check_connection(str(connection.pk))

    row = Connection.objects.get()
    assert (row.state, row.cause) == (State.HEALTHY, "")
    assert row.check_due > timezone.now() + timedelta(seconds=40)
    assert HealthCheck.objects.get().state == State.HEALTHY
    assert {model.upstream_id: model.state for model in Model.objects.all()} == {MODEL: "healthy", "gpt-2": "failing"}
    assert [request.method for request in upstream.requests] == ["GET"]
    assert not Usage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_failing_provider_recovers_with_the_next_check(due, upstream):
    connection = due()
    upstream.script(Fault.echoes_key())

    tasks.check_connection(str(connection.pk))
    failing = Connection.objects.get()
    tasks.check_connection(str(connection.pk))

    assert failing.state == State.FAILING
    assert upstream.key not in failing.evidence + failing.cause
    assert list(HealthCheck.objects.values_list("state", flat=True)) == [State.HEALTHY, State.FAILING]
    assert Connection.objects.get().evidence == ""


def test_an_unreadable_credential_is_a_state_not_a_crash(due, upstream):
    connection = due()
    Connection.objects.update(sealed_revision=7)

    tasks.check_connection(str(connection.pk))

    row = Connection.objects.get()
    assert (row.state, upstream.requests) == (State.FAILING, [])
    assert row.cause == HealthCheck.objects.get().cause == "The stored credential cannot be decrypted. Enter it again."
    assert AuditEvent.objects.filter(action="credential.unreadable").count() == 1


@pytest.mark.parametrize("changes", [{"settings": {"base_url": 7, "surprise": "s3cret"}}, {"kind": "gone"}])
def test_a_row_that_fits_no_provider_is_a_state_not_a_crash(due, upstream, changes):
    connection = due()
    Connection.objects.update(**changes)

    tasks.check_connection(str(connection.pk))

    row = Connection.objects.get()
    assert (row.state, upstream.requests) == (State.FAILING, [])
    assert row.cause
    assert "s3cret" not in row.cause


@pytest.mark.django_db(transaction=True)
def test_no_database_connection_is_held_while_the_provider_is_awaited(due, upstream):
    connection, database, held = due(), databases["default"], []
    upstream.always(Fault.answer(delay=0.4))
    look = threading.Timer(0.2, lambda: held.append(database.connection))
    look.start()

    tasks.check_connection(str(connection.pk))

    look.join()
    assert held == [None]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_asked_of_a_paused_or_deleted_connection(due, upstream):
    paused, deleted = due(name="paused", paused=True), due(name="deleted")
    identity = str(deleted.pk)
    deleted.delete()

    tasks.check_connection(str(paused.pk))
    tasks.check_connection(identity)

    assert upstream.requests == []
    assert not HealthCheck.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_model_is_called_at_most_once_a_minute_and_that_is_in_the_ledger(due, upstream):
    connection = due(probe_models=True)

    for _ in range(3):
        tasks.check_connection(str(connection.pk))

    assert [request.method for request in upstream.requests].count("POST") == 1
    row = Usage.objects.get()
    assert (row.principal, row.source, row.model) == ("system:health", "health", f"openai/{MODEL}")
    bill = next(iter(upstream.billed.values()))
    assert (row.prompt_tokens, row.completion_tokens) == (bill.prompt, bill.completion)
    assert row.cost > 0
    assert Model.objects.get().state == State.HEALTHY

    Model.objects.update(checked_at=timezone.now() - timedelta(seconds=61))
    tasks.check_connection(str(connection.pk))
    assert Usage.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_no_check_makes_pictures(due, upstream):
    connection = due(probe_models=True)
    Model.objects.create(connection=connection, public_id="openai/dall-e-3", upstream_id="dall-e-3", mode="image")

    tasks.check_connection(str(connection.pk))

    assert [request.json["model"] for request in upstream.requests if request.method == "POST"] == [MODEL]
    assert Model.objects.get(mode="image").state == State.FAILING  # the list does not have it


def test_the_history_is_trimmed_by_age_and_number(connect, monkeypatch):
    monkeypatch.setattr(tasks, "KEPT_ROWS", 10)
    one, other = connect("openai", name="one"), connect("openai", name="other")
    called = Model.objects.get(connection=one)

    def add(count, **columns):
        rows = [HealthCheck(state=State.HEALTHY, total_ms=number, **columns) for number in range(count)]
        HealthCheck.objects.bulk_create(rows)

    add(15, connection=one)
    add(12, connection=one, model=called)
    add(3, connection=other)
    add(3, connection=other, at=timezone.now() - timedelta(days=31))

    tasks.trim_checks()

    of_one = HealthCheck.objects.filter(connection=one)
    assert [check.total_ms for check in of_one.filter(model=None)] == list(range(14, 4, -1))
    assert [check.total_ms for check in of_one.filter(model=called)] == list(range(11, 1, -1))
    assert HealthCheck.objects.filter(connection=other).count() == 3


def test_beat_and_worker_keep_the_state_true(due, upstream, workers):
    due()
    workers.start_worker()

    until = time.monotonic() + 60
    while time.monotonic() < until and Connection.objects.get().state != State.HEALTHY:
        time.sleep(0.2)

    assert Connection.objects.get().state == State.HEALTHY
    assert len(upstream.requests) == 1


def test_every_check_of_the_timetable_exists():
    app.autodiscover_tasks(force=True)

    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in app.tasks
