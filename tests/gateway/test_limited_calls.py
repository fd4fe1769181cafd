"""Limits as callers meet them: what is refused, what the answer says, and that every place is given back."""

import re
import threading
import time

import pytest

from gateway.models import Limit
from tests.gateway.contract import chat
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


@pytest.fixture
def limit(mesh):
    """Sets a limit for the length of one test."""

    def make(**columns):
        Limit.objects.create(**{"scope": "all", "what": "requests", "amount": 2, "seconds": 3600, **columns})
        mesh.refresh()

    yield make
    Limit.objects.all().delete()
    mesh.refresh()


def test_a_call_beyond_the_limit_is_refused_and_sends_nothing(mesh, upstream, limit):
    limit()
    answers = [mesh.post(CHAT, chat("openai")) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "2"
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers[:2]] == ["1", "0"]
    assert answers[2].error["code"] == "rate_limit_exceeded"
    told = re.fullmatch(
        "The limit of 2 requests per hour is reached for everybody together. Try again in (29|30) min, at ..:.. UTC.",
        answers[2].error["message"],
    )
    assert told, answers[2].error["message"]
    assert int(answers[2].headers["retry-after"]) > 0
    assert len(upstream.requests) == 2
    row = mesh.usage(answers[2])
    assert (row.status, row.error_code, row.cost) == (429, "rate_limit_exceeded", 0)


def test_a_failed_call_gives_its_place_back(mesh, upstream, limit):
    limit(what="parallel", amount=1, seconds=0)
    upstream.script(Fault.status(400), Fault.hang_up(), Fault.hang_up())

    statuses = [mesh.post(CHAT, chat("openai")).status for _ in range(3)]

    assert statuses[0] == 400
    assert 429 not in statuses


def test_a_stream_holds_its_place_until_it_ends(mesh, upstream, limit):
    limit(what="parallel", amount=1, seconds=0)
    rest = threading.Event()
    upstream.always(Fault.held(rest))
    with mesh.open("POST", CHAT, chat("openai", stream=True)) as answer:
        answer.readline()
        second = mesh.post(CHAT, chat("openai"))
        rest.set()
        assert b"[DONE]" in answer.read()
    upstream.always(None)

    assert second.status == 429
    assert "1 call at once is reached" in second.error["message"]
    assert wait_for_200(mesh)


def wait_for_200(mesh):
    """A place is given back a moment after the answer."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if mesh.post(CHAT, chat("openai")).status == 200:
            return True
    return False
