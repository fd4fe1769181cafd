"""An answer from the composer to the stored run, through the real server and the fault upstream."""

import html
import time
import uuid
from urllib.parse import urlparse

import pytest

from gateway import admission
from gateway.models import Usage
from playground.models import Conversation, Run, Turn
from tests.playground.conftest import Visitor
from tests.upstream.faults import Fault


def eventually(found, within: float = 30.0):
    deadline = time.monotonic() + within
    while not (value := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


@pytest.fixture
def slow(upstream):
    """A long answer, a word every 50 ms."""
    upstream.always(Fault.answer(chunks=200, delay=0.05))


def test_the_answer_comes_in_pieces_then_whole(visitor, upstream):
    upstream.always(Fault.answer(text="Hello **there** <b>you</b>\nand `more`", delay=0.06))

    begun, *pieces, ended, done = visitor.ask("Hi").rest()

    run = visitor.run
    assert f'id="run-{run.pk}" aria-label="Answer of gpt-4o-mini" aria-busy="true"' in begun
    assert len(pieces) > 2
    assert all(f'hx-target="#text-{run.pk}" hx-swap="beforeend"' in piece for piece in pieces)
    assert "&lt;b&gt;you&lt;/b&gt;\n" in "".join(pieces)
    assert "<strong>there</strong> &lt;b&gt;you" in ended
    assert "<code>more</code>" in ended
    assert done == "event: done\ndone"
    assert run.state == Run.State.DONE
    assert run.text == "Hello **there** <b>you</b>\nand `more`"


def test_the_run_is_measured_and_in_the_ledger(visitor, upstream):
    visitor.ask("Hi").rest()

    run = visitor.run
    usage = Usage.objects.get(request_id=run.request_id)
    bill = next(iter(upstream.billed.values()))
    assert (run.prompt_tokens, run.completion_tokens) == (bill.prompt, bill.completion)
    assert (usage.source, usage.principal, usage.cost) == ("playground", "alice", run.cost)
    assert run.total_ms >= run.first_token_ms > 0


def test_stop_cancels_the_upstream_and_keeps_the_text(visitor, upstream, slow):
    stream = visitor.ask("Tell me a long story")
    stream.event()
    while "word2" not in stream.event():
        pass

    answer = visitor.post(f"/playground/runs/{visitor.run.pk}/stop")
    ended = stream.rest()[-2]

    assert upstream.requests[0].disconnected.wait(20)
    assert "stopped" in answer.read().decode()
    assert "word2" in ended and "stopped" in ended
    run = visitor.run
    assert run.state == Run.State.STOPPED
    assert run.text.startswith("word0 word1 word2")
    assert eventually(lambda: Usage.objects.filter(request_id=run.request_id, state="cancelled").first())


def test_a_stop_written_by_another_process_ends_the_answer(visitor, upstream, slow):
    stream = visitor.ask("Tell me a long story")
    while "word2" not in stream.event():
        pass

    Run.objects.update(state=Run.State.STOPPED)

    assert upstream.requests[0].disconnected.wait(20)
    assert "stopped" in stream.rest()[-2]


def test_leaving_lets_the_answer_end_by_itself(visitor, upstream):
    upstream.always(Fault.answer(chunks=30, delay=0.05))
    stream = visitor.ask("Tell me a story")
    stream.event()
    stream.leave()

    assert 'hx-trigger="every 700ms"' in visitor.page
    assert eventually(lambda: visitor.run.state == Run.State.DONE)
    assert visitor.run.text.endswith("word29")
    assert "every 700ms" not in visitor.page


def test_a_reload_shows_what_is_stored_and_polls_until_the_end(visitor, upstream):
    upstream.always(Fault.answer(chunks=30, delay=0.05))
    visitor.ask("Tell me a story").event()
    path = f"/playground/runs/{visitor.run.pk}/"

    assert eventually(lambda: "word5" in visitor.get(path, htmx=True))
    assert eventually(lambda: "every 700ms" not in visitor.get(path, htmx=True))
    assert "word29" in visitor.get(path, htmx=True)


def test_deleting_the_conversation_stops_its_answer(visitor, upstream, slow):
    visitor.ask("Tell me a long story").event()

    visitor.post(f"/playground/{visitor.conversation}/delete", htmx=False)

    assert upstream.requests[0].disconnected.wait(20)
    assert not Conversation.objects.exists()


def test_without_javascript_the_page_comes_with_the_finished_answer(visitor, upstream):
    upstream.always(Fault.answer(text="All *done*"))

    response = visitor.ask_without_javascript("Hi")

    assert response.status == 302
    assert "All <em>done</em>" in visitor.get(urlparse(response.headers["Location"]).path)


def test_without_streaming_the_whole_answer_is_asked(visitor, upstream):
    visitor.ask("Hi", stream="").rest()

    assert "stream" not in upstream.requests[0].json
    assert visitor.run.text == "Hi"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.status(401), "upstream_auth_error"),
        (Fault.status(429), "rate_limit_exceeded"),
        (Fault.status(500), "upstream_unavailable"),
        (Fault.hang_up(), "upstream_unavailable"),
    ],
)
def test_a_failure_says_its_cause_and_the_next_step(visitor, upstream, fault, code):
    upstream.always(fault)

    ended = html.unescape(visitor.ask("Hi").rest()[-2])

    run = visitor.run
    assert (run.state, run.problem_code) == (Run.State.FAILED, code)
    assert run.problem in ended and run.next_step in ended and run.request_id in ended


def test_a_process_that_is_full_refuses_and_one_that_is_not_counts_it(visitor, upstream, slow, monkeypatch):
    visitor.ask("Tell me a long story")
    assert eventually(lambda: len(admission.calls.inside) == 1)

    monkeypatch.setattr(admission.calls, "room", 1)
    visitor.conversation = uuid.uuid4()
    visitor.ask("And another one").rest()

    assert (visitor.run.state, visitor.run.problem_code) == (Run.State.FAILED, "overloaded")
    assert len(upstream.requests) == 1


def test_the_text_before_a_failure_is_kept(visitor, upstream):
    upstream.always(Fault.error_mid_stream(after=4, chunks=9))

    visitor.ask("Hi").rest()

    assert visitor.run.state == Run.State.FAILED
    assert visitor.run.text.startswith("word0")


def test_characters_that_no_database_takes_do_not_lose_the_answer(visitor, upstream):
    upstream.always(Fault.answer(text="before \0 after"))

    visitor.ask("Hi").rest()

    assert visitor.run.text == "before \ufffd after"


def test_the_conversation_so_far_is_sent_along(visitor, upstream):
    upstream.script(Fault.answer(text="Four."))
    visitor.ask("Two and two?", system="Be brief.").rest()
    visitor.ask("And one more?", system="Be brief.").rest()

    assert upstream.requests[1].json["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Two and two?"},
        {"role": "assistant", "content": "Four."},
        {"role": "user", "content": "And one more?"},
    ]


def test_a_second_question_waits_for_the_first_answer(visitor, slow):
    visitor.ask("First").event()

    response = visitor.post(f"/playground/{visitor.conversation}/ask", text="Second")

    assert response.status == 422
    assert "An answer is still coming" in response.read().decode()
    assert Turn.objects.count() == 1


def test_regenerate_adds_an_answer_with_the_settings_of_now(visitor, upstream):
    upstream.script(Fault.answer(text="first"), Fault.answer(text="second"))
    visitor.ask("Hi").rest()
    turn = visitor.run.turn

    body = visitor.post(f"/playground/turns/{turn.pk}/regenerate", temperature="0.5").read().decode()

    assert [run.text for run in turn.runs.all()] == ["first", "second"]
    assert upstream.requests[1].json["temperature"] == 0.5
    assert f'hx-target="#turn-{turn.pk}" hx-swap="outerHTML"' in body
    assert "1 earlier answer" in visitor.page


def test_an_edit_replaces_what_followed_and_loses_nothing(visitor, upstream):
    for text in ("one", "two", "three"):
        visitor.ask(text).rest()
    second = Turn.objects.get(text="two")

    visitor.ask("zwei", edit=second.pk).rest()

    conversation = Conversation.objects.get()
    assert [turn.text for turn in conversation.turns.live()] == ["one", "zwei"]
    assert [turn.text for turn in Turn.objects.get(text="zwei").replaced.all()] == ["two", "three"]
    contents = [said["content"] for said in upstream.requests[-1].json["messages"]]
    assert contents == ["one", "one", "zwei"]
    assert "Kept aside by your edit: 2 messages" in visitor.page


def test_the_effective_request_is_what_was_sent_without_the_key(visitor, upstream):
    visitor.ask("Hi", temperature="0.3").rest()

    run = visitor.run
    shown = visitor.get(f"/playground/runs/{run.pk}/request")
    assert run.effective["body"] == upstream.requests[0].json
    assert upstream.key not in str(run.effective) + shown
    assert "POST /openai/v1/chat/completions" in shown


def test_an_answer_that_the_servers_end_cut_off_is_marked(visitor, slow):
    visitor.ask("Tell me a long story").event()

    visitor.mesh.stop()

    run = visitor.run
    assert (run.state, run.problem_code) == (Run.State.FAILED, "interrupted")
    assert run.text.startswith("word0")
    assert Usage.objects.filter(request_id=run.request_id, state="cancelled").exists()


def test_an_answer_whose_process_died_is_marked(visitor):
    visitor.ask("Hi").rest()
    Run.objects.update(state=Run.State.RUNNING, alive_at="2026-01-01T00:00Z")

    assert "The server was stopped while this answer came." in visitor.page
    assert visitor.run.state == Run.State.FAILED


def test_what_was_changed_is_told_also_when_it_shows_only_while_asking(mesh, connect, analysts, alice, upstream):
    settings = {"base_url": upstream.url("compatible")}
    connect("compatible", group=analysts, kind="gpt4all", name="gpt4all", settings=settings, secrets={})
    mesh.refresh()
    visitor = Visitor(mesh, alice)

    visitor.ask("one two", model="gpt4all/local-chat").rest()

    assert visitor.run.text == "one two"
    assert "stream answered whole" in visitor.run.adjusted
