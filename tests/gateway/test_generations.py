"""Asynchronous generations through the API, with a real worker, also when it is killed."""

import time
from typing import Any

import pytest
from django.utils import timezone

from access.models import User
from gateway.models import Job, Usage
from tests.mesh import Mesh
from tests.upstream.faults import Fault

ADDRESS = "/api/generations/"
BODY = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture
def ready(mesh, connect, analysts, alice, key_for) -> Mesh:
    """The application and an allowed model; without `workers` nobody runs what it accepts."""
    connect("openai", group=analysts)
    mesh.key = key_for(alice)
    mesh.refresh()
    return mesh


def ended(mesh: Mesh, job: dict[str, Any], within: float = 60) -> dict[str, Any]:
    until = time.monotonic() + within
    while time.monotonic() < until:
        found = mesh.get(f"{ADDRESS}{job['id']}/?wait=5").json
        if found["state"] in Job.TERMINAL:
            return found
    raise AssertionError(f"the job did not end: {found}")


def test_a_job_runs_and_gives_what_v1_would(ready, workers, upstream):
    workers.start_worker()

    accepted = ready.post(ADDRESS, {**BODY, "temperature": 0.5})
    job = ended(ready, accepted.json)

    assert accepted.status == 202
    assert accepted.headers["location"] == f"{ADDRESS}{job['id']}/"
    assert job["state"] == "succeeded"
    assert job["result"]["object"] == "chat.completion"
    assert job["result"]["choices"][0]["message"]["content"]
    assert job["result"]["usage"]["completion_tokens"] > 0
    row = Usage.objects.get(request_id=job["request_id"])
    assert (row.source, row.state, row.user_id) == ("generation", "ok", User.objects.get(username="alice").pk)
    assert row.completion_tokens == job["result"]["usage"]["completion_tokens"]


def test_a_providers_refusal_ends_the_job_with_its_reason(ready, workers, upstream):
    upstream.always(Fault.status(401))
    workers.start_worker()

    job = ended(ready, ready.post(ADDRESS, BODY).json)

    assert (job["state"], job["error"]["code"]) == ("failed", "upstream_auth_error")


def test_a_running_job_is_cancelled_and_its_upstream_call_closed(ready, workers, upstream):
    upstream.always(Fault.answer(chunks=200, delay=0.2))
    workers.start_worker()
    job = ready.post(ADDRESS, BODY).json
    until = time.monotonic() + 60
    while not upstream.requests and time.monotonic() < until:
        time.sleep(0.05)

    ready.request("DELETE", f"{ADDRESS}{job['id']}/")

    assert ended(ready, job, within=30)["state"] == "cancelled"
    assert upstream.requests[0].disconnected.wait(20)
    row = Usage.objects.get(source="generation")
    assert (row.state, row.estimated) == ("cancelled", True)


def test_a_job_asks_only_granted_models(ready, connect):
    connect("anthropic")
    ready.refresh()

    answer = ready.post(ADDRESS, {**BODY, "model": "anthropic/claude-sonnet-5-5"})

    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert not Job.objects.exists()


def test_rights_are_checked_again_when_a_queued_job_starts(ready, workers, upstream):
    job = ready.post(ADDRESS, BODY).json
    User.objects.get(username="alice").groups.clear()
    workers.start_worker()

    found = ended(ready, job)

    assert (found["state"], found["error"]["code"]) == ("failed", "model_not_found")
    assert upstream.requests == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_anothers_job_does_not_exist(ready, bob, key_for, method):
    job = ready.post(ADDRESS, BODY).json

    answer = ready.request(method, f"{ADDRESS}{job['id']}/", key=key_for(bob))

    assert answer.status == 404
    assert Job.objects.get().state == Job.State.QUEUED


def test_a_key_limited_to_models_sees_only_their_jobs(ready, alice, key_for):
    job = ready.post(ADDRESS, BODY).json
    own = key_for(alice, allowed_models=[BODY["model"]])
    other = key_for(alice, allowed_models=["openai/another"])

    assert ready.get(f"{ADDRESS}{job['id']}/", key=own).status == 200
    assert ready.get(f"{ADDRESS}{job['id']}/", key=other).status == 404
    assert ready.request("DELETE", f"{ADDRESS}{job['id']}/", key=other).status == 404
    assert ready.get(ADDRESS, key=other).json["results"] == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ([], "model"),
        ({"model": BODY["model"]}, "messages"),
        ({**BODY, "messages": []}, "messages"),
        ({**BODY, "temperature": "hot"}, "temperature"),
        ({**BODY, "stream_options": {}}, "stream_options"),
    ],
)
def test_a_bad_body_is_refused_and_nothing_is_accepted(ready, body, param):
    answer = ready.post(ADDRESS, body)

    assert (answer.status, answer.error["param"]) == (400, param)
    assert not Job.objects.exists()


@pytest.mark.parametrize("wait", ["x", "-1", "61", "nan"])
def test_a_bad_wait_is_refused(ready, wait):
    job = ready.post(ADDRESS, BODY).json

    answer = ready.get(f"{ADDRESS}{job['id']}/?wait={wait}")

    assert (answer.status, answer.error["param"]) == (400, "wait")


def test_killing_the_worker_loses_and_doubles_nothing(ready, workers, upstream):
    upstream.always(Fault.answer(chunks=20, delay=0.1))
    worker = workers.start_worker()
    accepted = [ready.post(ADDRESS, BODY).json for _ in range(20)]
    until = time.monotonic() + 60
    while Job.objects.filter(state=Job.State.RUNNING).count() < 5 and time.monotonic() < until:
        time.sleep(0.05)

    workers.kill(worker)
    running_at_the_kill = Job.objects.filter(state=Job.State.RUNNING).count()
    workers.start_worker()
    found = [ended(ready, job, within=90) for job in accepted]

    assert running_at_the_kill >= 5
    assert [job["state"] for job in found] == ["succeeded"] * 20
    assert len({job["request_id"] for job in found}) == 20
    assert Usage.objects.filter(source="generation", state="ok").count() == 20


@pytest.fixture
def drawing(ready, connect, analysts) -> Mesh:
    connect("compatible", {"flux": "image", "bge": "rerank"}, group=analysts)
    ready.refresh()
    return ready


def test_pictures_and_rerankings_are_made_in_the_background(drawing, workers, upstream):
    workers.start_worker()

    picture = drawing.post(ADDRESS, {"model": "compatible/flux", "prompt": "A fish", "n": 2})
    ranking = drawing.post(ADDRESS, {"model": "compatible/bge", "query": "red", "documents": ["a bird", "red"]})
    pictures, ranked = ended(drawing, picture.json), ended(drawing, ranking.json)

    assert (picture.json["mode"], ranking.json["mode"]) == ("image", "rerank")
    assert [len(item["b64_json"]) > 50 for item in pictures["result"]["data"]] == [True, True]
    assert [item["index"] for item in ranked["result"]["results"]] == [1, 0]
    assert Usage.objects.get(request_id=pictures["request_id"]).images == 2


def test_a_list_of_jobs_leaves_their_results_out(drawing):
    job = Job.objects.create(
        owner=User.objects.get(username="alice"),
        mode="image",
        model="compatible/flux",
        request={},
        deadline=timezone.now(),
        state=Job.State.SUCCEEDED,
        result={"data": [{"b64_json": "x" * 1000}]},
    )

    assert "result" not in drawing.get(ADDRESS).json["results"][0]
    assert drawing.get(f"{ADDRESS}{job.pk}/").json["result"] == job.result


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "compatible/flux"}, "prompt"),
        ({"model": "compatible/flux", "prompt": "A fish", "size": "big"}, "size"),
        ({"model": "compatible/bge", "query": "red"}, "query"),
        ({"model": "compatible/bge", "query": "red", "documents": []}, "documents"),
    ],
)
def test_bad_pictures_and_rerankings_are_not_accepted(drawing, body, param):
    answer = drawing.post(ADDRESS, body)

    assert (answer.status, answer.error["param"]) == (400, param)
    assert not Job.objects.exists()
