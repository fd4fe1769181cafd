"""Faults of our own: an adapter that breaks costs its own call, which is written down like any other."""

import pytest

from connections.providers.openai import OpenAI
from tests.gateway.contract import chat

CHAT = "/v1/chat/completions"


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


def breaks(*_):
    raise RuntimeError("an adapter's own fault")


class Breaks:
    """Reads the events of a stream, until it does not."""

    finish_reason = model = ""
    feed = end = staticmethod(breaks)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_cannot_be_made_leaves_a_row(mesh, upstream, monkeypatch, stream):
    monkeypatch.setattr(OpenAI, "request", breaks)

    answer = mesh.post(CHAT, chat(stream=stream))

    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    row = mesh.usage(answer)
    assert (row.state, row.status, row.error_code) == ("error", 500, "internal_error")
    assert upstream.requests == []


def test_an_answer_that_cannot_be_read_leaves_a_row(mesh, upstream, monkeypatch):
    monkeypatch.setattr(OpenAI, "reply", breaks)

    row = mesh.usage(mesh.post(CHAT, chat()))

    assert (row.state, row.status, row.error_code, row.cost) == ("error", 500, "internal_error", None)


def test_a_stream_that_cannot_be_read_is_no_client_that_left(mesh, upstream, monkeypatch):
    monkeypatch.setattr(OpenAI, "events", lambda *_: Breaks())

    row = mesh.usage(mesh.post(CHAT, chat(stream=True)))

    assert (row.state, row.status, row.error_code) == ("error", 500, "internal_error")
