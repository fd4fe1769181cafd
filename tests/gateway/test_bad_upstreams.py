"""What callers of `/v1` see when a provider misbehaves: an error of the contract, never its words, never its key.

Every call leaves one usage row with the right state, and a good call right after it is answered.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest
from django.contrib.auth.models import Group

from access.models import EVERYONE
from connections.transport import Timeouts
from gateway import accepted, breaker
from gateway.envelope import Problem
from tests.connections.test_transport import Authority
from tests.gateway.contract import chat, check_discreet, check_error, check_refusal
from tests.mesh import EMBEDDERS, MODELS, make_connection
from tests.upstream.faults import Fault
from tests.upstream.wire import ABSENT

CHAT = "/v1/chat/completions"
THREE = ["openai", "anthropic", "llamacpp"]
INVALID, UNAVAILABLE = (502, "upstream_invalid_response"), (503, "upstream_unavailable")
AUTH, LATE = (502, "upstream_auth_error"), (504, "upstream_timeout")


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


@pytest.fixture
def hurried(monkeypatch):
    """Timeouts that a test can wait for."""
    monkeypatch.setattr(accepted, "TIMEOUTS", Timeouts(connect=1.0, first_byte=0.6, between=0.6, total=2.0))


def ask(mesh, dialect, **fields):
    return mesh.post(CHAT, chat(dialect, **fields))


def check_failed(mesh, answer, status, code):
    check_refusal(answer, status, code)
    row = mesh.usage(answer)
    assert (row.state, row.status, row.error_code) == ("error", status, code)
    assert row.cost is None or row.cost >= 0


def check_next_call(mesh, upstream, dialect):
    upstream.always(None)
    assert ask(mesh, dialect).text == "one two three"


BEFORE = {
    "hangs up": (Fault.hang_up(), *UNAVAILABLE),
    "a login page": (Fault.html(), *INVALID),
    "an empty answer": (Fault.empty(), *INVALID),
    "no content": (Fault.no_content(), *INVALID),
    "null": (Fault.body(b"null"), *INVALID),
    "a list": (Fault.body(b"[]"), *INVALID),
    "an empty object": (Fault.body(b"{}"), *INVALID),
    "half of the JSON": (Fault.half_json(), *INVALID),
    "a length beyond the body": (Fault.long_length(), *INVALID),
    "a wrong charset": (Fault.wrong_charset(), *INVALID),
    "a gigabyte": (Fault.huge_body(), *INVALID),
    "a gzip bomb": (Fault.gzip_bomb(), *INVALID),
    "a header of a megabyte": (Fault.huge_header(), *INVALID),
    "no HTTP": (Fault.raw(b"SSH-2.0-OpenSSH_9.2\r\n"), *INVALID),
    "a redirect to metadata": (Fault.redirect("http://169.254.169.254/latest/meta-data/"), *INVALID),
    "a redirect to loopback": (Fault.redirect("http://127.0.0.1:1/"), *INVALID),
    "a redirect that repeats": (Fault.redirect("", 307), *INVALID),
    "401 with our key in it": (Fault.echoes_key(401), *AUTH),
    "403 with our key in it": (Fault.echoes_key(403), *AUTH),
    "404": (Fault.status(404), 404, "model_not_found"),
    "400": (Fault.status(400), 400, "invalid_value"),
    "500": (Fault.status(500), *UNAVAILABLE),
    "500 as HTML": (Fault.body(b"<h1>Oops</h1>", "text/html", 500), *UNAVAILABLE),
    "502 with our key in it": (Fault.echoes_key(502), *UNAVAILABLE),
    "503": (Fault.status(503), *UNAVAILABLE),
    "529": (Fault.status(529), *UNAVAILABLE),
    "choices missing": (Fault.choices("missing"), *INVALID),
    "a stream that was not asked for": (Fault.streamed(), *INVALID),
}


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("name", BEFORE)
def test_a_failed_call_has_a_name(mesh, upstream, dialect, name):
    fault, status, code = BEFORE[name]
    upstream.always(fault)

    answer = ask(mesh, dialect)

    check_failed(mesh, answer, status, code)
    assert len(upstream.requests) == 1 or name == "hangs up"  # a kept connection may have been dead before
    check_next_call(mesh, upstream, dialect)


BEFORE_A_STREAM = ["hangs up", "a login page", "an empty answer", "no content", "half of the JSON", "no HTTP", "500"]
BEFORE_A_STREAM += ["a redirect to metadata", "401 with our key in it", "500 as HTML", "a header of a megabyte", "400"]


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("name", BEFORE_A_STREAM)
def test_a_stream_that_fails_before_it_begins_has_a_status(mesh, upstream, dialect, name):
    fault, status, code = BEFORE[name]
    upstream.always(fault)

    answer = ask(mesh, dialect, stream=True)

    check_failed(mesh, answer, status, code)
    assert mesh.usage(answer).stream


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_inside_success_is_an_error(mesh, upstream, dialect, stream):
    upstream.always(Fault.error_inside_success())

    answer = ask(mesh, dialect, stream=stream)

    assert (answer.status, answer.error["code"]) in {INVALID, UNAVAILABLE}
    check_failed(mesh, answer, answer.status, answer.error["code"])


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [Fault.silence(), Fault.slow_head(0.1)], ids=["silence", "slow head"])
def test_a_provider_that_does_not_answer_is_given_up(mesh, upstream, hurried, dialect, stream, fault):
    upstream.always(fault)
    started = time.monotonic()

    answer = ask(mesh, dialect, stream=stream)

    check_failed(mesh, answer, *LATE)
    assert time.monotonic() - started < 15
    assert upstream.requests[0].disconnected.wait(20)


def test_a_provider_that_refuses_connections_is_unavailable(mesh, upstream):
    everyone = Group.objects.get(name=EVERYONE)
    for dialect in THREE:
        make_connection(upstream, dialect, None, everyone, name=f"closed-{dialect}", url=upstream.refusing_url(dialect))
    mesh.refresh()

    for dialect in THREE:
        for stream in (False, True):
            answer = mesh.post(CHAT, chat(dialect, stream=stream) | {"model": f"closed-{dialect}/{MODELS[dialect]}"})
            check_failed(mesh, answer, *UNAVAILABLE)


CERTIFICATES = {
    "proper": ({}, None),
    "expired": ({"days": -1}, "upstream_tls_error"),
    "of another host": ({"host": "other.test"}, "upstream_tls_error"),
    "of a stranger": ({"authority": False}, "upstream_tls_error"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_does_not_fit_stops_the_call(mesh, upstream, tmp_path, name):
    options, code = CERTIFICATES[name]
    authority = Authority()
    certificate = authority.pem if options.get("authority", True) else ""
    context = authority.server(tmp_path, **{"host": "localhost"} | {n: options[n] for n in options if n != "authority"})
    connection = make_connection(
        upstream,
        "openai",
        None,
        Group.objects.get(name=EVERYONE),
        name="tls",
        url=upstream.tls_url("openai", context),
        ca_certificate=certificate,
    )
    mesh.refresh()

    answer = mesh.post(CHAT, chat() | {"model": "tls/gpt-4o-mini"})

    connection.delete()
    if code:
        check_failed(mesh, answer, 502, code)
        assert answer.headers["x-should-retry"] == "false"
        assert upstream.requests == []
    else:
        assert answer.text == "one two three"


WAITS = {
    "none": ({}, range(0, 61)),
    "a number": ({"retry_after": "7"}, range(7, 8)),
    "a fraction": ({"retry_after": "1.5"}, range(2, 3)),
    "negative": ({"retry_after": "-5"}, range(0, 61)),
    "absurd": ({"retry_after": "1000000000"}, range(1, 86_401)),
    "no number": ({"retry_after": "soon"}, range(0, 61)),
    "infinite": ({"retry_after": "inf"}, range(0, 86_401)),
    "NaN": ({"retry_after": "nan"}, range(0, 61)),
}


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("name", WAITS)
def test_a_rate_limit_is_passed_on_with_a_sane_wait(mesh, upstream, dialect, name):
    headers, expected = WAITS[name]
    upstream.always(Fault.status(429, **headers))

    answer = ask(mesh, dialect)

    check_failed(mesh, answer, 429, "rate_limit_exceeded")
    assert int(answer.headers["retry-after"]) in expected


def test_a_wait_may_be_a_date(mesh, upstream):
    upstream.always(Fault.status(429, retry_after=formatdate(time.time() + 30, usegmt=True)))

    assert 27 <= int(ask(mesh, "openai").headers["retry-after"]) <= 31


@pytest.mark.parametrize("dialect", THREE)
def test_a_provider_that_fails_once_works_again(mesh, upstream, dialect):
    upstream.script(Fault.status(500))

    assert ask(mesh, dialect).status == 503
    assert ask(mesh, dialect).text == "one two three"


# --- within a stream


def check_broken(mesh, answer, code):
    """A stream that began and failed: an error event at the end, no `[DONE]`, tokens counted."""
    assert answer.status == 200
    assert answer.body.count(b"event: error\n") == 1
    assert b"[DONE]" not in answer.body
    error = answer.chunks[-1]["error"]
    assert (error["code"], error["request_id"]) == (code, answer.headers["x-request-id"])
    check_error(error, Problem(code, "").status)
    check_discreet(answer)
    row = mesh.usage(answer)
    assert (row.state, row.error_code, row.stream) == ("error", code, True)
    assert row.completion_tokens > 0


WITHIN = {
    "reset within an event": (Fault.reset_mid_event(5), "upstream_unavailable"),
    "an early end": (Fault.ends_early(6, chunks=20), "upstream_invalid_response"),
    "an event that is not JSON": (Fault.not_json(after=5), "upstream_invalid_response"),
    "an event of 50 MB": (Fault.huge_event(after=5), "upstream_invalid_response"),
    "an error event": (Fault.error_mid_stream(5), "upstream_unavailable"),
}


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("name", WITHIN)
def test_a_broken_stream_ends_with_an_error(mesh, upstream, dialect, name):
    fault, code = WITHIN[name]
    upstream.always(fault)

    answer = ask(mesh, dialect, stream=True)

    check_broken(mesh, answer, code)
    check_next_call(mesh, upstream, dialect)


@pytest.mark.parametrize("dialect", THREE)
def test_a_stream_that_falls_silent_is_given_up(mesh, upstream, hurried, dialect):
    upstream.always(Fault.stalls(5))

    answer = ask(mesh, dialect, stream=True)

    check_broken(mesh, answer, "upstream_timeout")
    assert upstream.requests[0].disconnected.wait(20)


@pytest.mark.parametrize("dialect", THREE)
def test_comments_do_not_keep_a_stream_alive_for_ever(mesh, upstream, hurried, dialect):
    upstream.always(Fault.comments(count=600, every=0.05))
    started = time.monotonic()

    check_failed(mesh, ask(mesh, dialect, stream=True), *LATE)

    assert 1.5 < time.monotonic() - started < 15


@pytest.mark.parametrize("dialect", THREE)
def test_a_compressed_answer_is_unpacked(mesh, upstream, dialect):
    upstream.always(Fault.gzipped())

    assert ask(mesh, dialect).text == "one two three"


@pytest.mark.parametrize("dialect", THREE)
def test_a_stream_that_is_cut_after_its_head_failed_before_it_began(mesh, upstream, dialect):
    upstream.always(Fault.reset_after_head())

    check_failed(mesh, ask(mesh, dialect, stream=True), *UNAVAILABLE)


HARMLESS = {
    "its end twice": Fault.done_twice(),
    "events after its end": Fault.data_after_done(),
    "hostile id and retry": Fault.hostile_fields(),
    "carriage returns and a mark": Fault.carriage_returns(),
    "comments for a while": Fault.comments(20, 0.05),
    "one byte a time": Fault.split_everywhere(text="one two three"),
    "index 7": Fault.choices("index"),
    "two finish reasons": Fault.choices("finish_twice"),
    "a clock in 1970": Fault.answer(created=0),
    "a clock in 2100": Fault.answer(created=4_102_444_800),
    "another model's name": Fault.answer(model="claude-gpt-llama"),
    "a slow stream": Fault.answer(delay=0.05),
}


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("name", HARMLESS)
def test_an_odd_stream_is_understood(mesh, upstream, hurried, dialect, name):
    upstream.always(HARMLESS[name])

    answer = ask(mesh, dialect, stream=True)

    assert answer.text == "one two three"
    assert answer.events.count("[DONE]") == 1 and answer.events[-1] == "[DONE]"
    assert b"<script>" not in answer.body
    row = mesh.usage(answer)
    assert (row.state, row.finish_reason) == ("ok", "stop")
    assert (row.prompt_tokens, row.completion_tokens) == (3, 3)


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_characters_survive_any_split(mesh, upstream, dialect, size):
    upstream.always(Fault.split_everywhere(size))

    assert ask(mesh, dialect, stream=True).text == "Größe 🙂 日本"


@pytest.mark.parametrize("dialect", THREE)
def test_a_whole_answer_to_a_streaming_request_is_an_error(mesh, upstream, dialect):
    upstream.always(Fault.whole())

    check_failed(mesh, ask(mesh, dialect, stream=True), *INVALID)


# --- what it says about tokens


def counted(mesh, answer):
    row = mesh.usage(answer)
    return row.prompt_tokens, row.completion_tokens, row.estimated, row.suspect


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("given", [ABSENT, None, [], "many"], ids=["absent", "null", "list", "text"])
def test_missing_usage_is_estimated(mesh, upstream, dialect, stream, given):
    upstream.always(Fault.usage(given))

    answer = ask(mesh, dialect, stream=stream)

    prompt, completion, estimated, _ = counted(mesh, answer)
    assert answer.text == "one two three"
    assert estimated and prompt > 0 and completion > 0


ABSURD = {
    "negative": (-5, -7),
    "texts": ("many", "more"),
    "huge": (10**18, 10**18),
    "lists": ([1], {}),
    "NaN": ("nan", 1e99),
}


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ABSURD)
def test_absurd_usage_is_clamped_and_flagged(mesh, upstream, dialect, stream, name):
    upstream.always(Fault.tokens(*ABSURD[name]))

    answer = ask(mesh, dialect, stream=stream)

    prompt, completion, _, suspect = counted(mesh, answer)
    assert answer.text == "one two three"
    assert suspect
    assert 0 <= prompt <= 10_000_000 and 0 <= completion <= 10_000_000


@pytest.mark.parametrize("dialect", THREE)
def test_the_last_usage_of_a_stream_counts(mesh, upstream, dialect):
    upstream.always(Fault.tokens(3, 3, again=(3, 9)))

    answer = ask(mesh, dialect, stream=True)

    assert counted(mesh, answer) == (3, 9, False, False)


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("stream", [False, True])
def test_the_ledger_agrees_with_the_bill(mesh, upstream, dialect, stream):
    upstream.always(Fault.answer(chunks=12, cached=4, reasoning=5))

    row = mesh.usage(ask(mesh, dialect, stream=stream))

    [bill] = upstream.billed.values()
    assert (row.prompt_tokens, row.completion_tokens) == (bill.prompt, bill.completion) == (7, 17)
    assert (row.cached_tokens, row.reasoning_tokens) == (bill.cached, bill.reasoning)
    assert not row.estimated and not row.suspect


def test_the_ledger_adds_up_over_many_mixed_calls(mesh, upstream, monkeypatch):
    monkeypatch.setattr(breaker, "LEAST", 10**9)  # more than half of the calls fail, and none shall be left out
    monkeypatch.setattr(breaker, "IN_A_ROW", 10**9)
    faults = [Fault.answer(chunks=9, cached=3), Fault.answer(reasoning=4), Fault.status(500), Fault.status(429)]
    faults += [Fault.hang_up(), Fault.html(), Fault.half_json(), Fault.answer(), Fault.answer(chunks=30, delay=0.002)]
    upstream.script(*faults * 20)
    with ThreadPoolExecutor(12) as pool:
        calls = pool.map(lambda number: ask(mesh, THREE[number % 3], stream=number % 2 == 0), range(len(faults) * 20))
        answers = list(calls)

    rows = [mesh.usage(answer) for answer in answers]
    assert len({row.pk for row in rows}) == len(answers)
    fine = [row for row in rows if row.state == "ok"]
    assert len(fine) == len(upstream.billed) > 50
    assert sum(row.prompt_tokens for row in fine) == sum(bill.prompt for bill in upstream.billed.values())
    assert sum(row.completion_tokens for row in fine) == sum(bill.completion for bill in upstream.billed.values())


@pytest.mark.parametrize("dialect", THREE)
def test_the_model_that_answered_is_remembered(mesh, upstream, dialect):
    upstream.always(Fault.answer(model="claude-gpt-llama"))

    for stream in (False, True):
        row = mesh.usage(ask(mesh, dialect, stream=stream))
        assert (row.model, row.upstream_model) == (f"{dialect}/{MODELS[dialect]}", "claude-gpt-llama")


HOSTILE = ["\0", "<script>alert(1)</script>", "'); DROP TABLE gateway_usage;--", "🙂é", "x"]


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_and_reasons_are_stored_cut_short(mesh, upstream, dialect, stream, text):
    upstream.always(Fault.answer(model=text * 400, finish=text * 400))

    row = mesh.usage(ask(mesh, dialect, stream=stream))

    assert row.state == "ok"
    assert len(row.upstream_model) <= 300 and len(row.finish_reason) <= 20
    assert "\0" not in row.upstream_model + row.finish_reason


@pytest.mark.parametrize("dialect", THREE)
def test_two_calls_with_one_upstream_id_are_two_calls(mesh, upstream, dialect):
    upstream.always(Fault.answer(call_id="always-the-same"))

    first, second = (mesh.usage(ask(mesh, dialect)) for _ in range(2))

    assert first.pk != second.pk


@pytest.mark.parametrize("dialect", EMBEDDERS)
@pytest.mark.parametrize("name", ["hangs up", "a login page", "half of the JSON", "401 with our key in it", "500"])
def test_failed_embeddings_have_a_name(mesh, upstream, dialect, name):
    fault, status, code = BEFORE[name]
    upstream.always(fault)

    answer = mesh.post("/v1/embeddings", {"model": f"{dialect}/{EMBEDDERS[dialect]}", "input": "one"})

    check_failed(mesh, answer, status, code)


def test_a_storm_of_refusals_leaves_nothing_stuck(mesh, upstream):
    """Input 89: callers get the provider's 429 and its Retry-After, then ours while it is left alone."""
    upstream.always(Fault.status(429, retry_after="7"))

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: ask(mesh, "openai"), range(300)))

    refused = [answer.headers["retry-after"] for answer in answers if answer.status == 429]
    left_alone = [int(answer.headers["retry-after"]) for answer in answers if answer.status == 503]
    assert len(refused) + len(left_alone) == 300
    assert set(refused) == {"7"} and all(0 < seconds <= 30 for seconds in left_alone)
    assert breaker.IN_A_ROW <= len(upstream.requests) == len(refused) < 100
    mesh.forget()
    check_next_call(mesh, upstream, "openai")
