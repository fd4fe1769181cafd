"""The words of a refusal, wherever they stand, and how long to wait."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from connections.providers import errors, problems
from connections.providers.calls import Answer

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def http_date(seconds):
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


def named(status, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return problems.named(Answer(status, headers, content), [])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": http_date(90), "date": http_date(0)}, 90),
        ({"retry-after": http_date(-90), "date": http_date(0)}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1000000000"}, 3600),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 99 Nov 2026 99:99:99 GMT"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_how_long_to_wait(headers, seconds):
    assert problems.retry_after(headers) == seconds
    assert problems.named(Answer(429, headers, b""), []).retry_after == seconds


def test_a_date_without_the_servers_clock_is_seen_from_ours(time_machine):
    time_machine.move_to(NOW, tick=False)

    assert problems.retry_after({"retry-after": http_date(30)}) == 30


def test_a_server_may_forbid_another_try():
    assert problems.named(Answer(500, {}, b""), []).retryable
    assert not problems.named(Answer(500, {"x-should-retry": "false"}, b""), []).retryable


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Words."}},
        {"error": "Words."},
        {"message": "Words."},
        {"detail": "Words."},
        {"detail": [{"msg": "Words.", "loc": ["body"]}]},
        {"detail": {"error": {"message": "Words."}}},
        {"title": "Words."},
        {"status": {"description": "Words."}},
        {"errors": [{"message": "Words."}]},
        "Words.",
        b"Words.",
        b"<html><style>p {}</style><p>Words.</p></html>",
        b"\x00Words.\r\n",
    ],
    ids=str,
)
def test_the_providers_words_are_found(body):
    assert named(500, body).evidence.strip('"') == "Words."


def test_words_are_short_and_on_one_line():
    error = named(400, {"error": {"message": "word\n" * 10_000}})

    assert len(error.evidence) == 500
    assert len(str(error)) < 500
    assert "\n" not in error.evidence


def test_the_user_learns_what_to_mend_but_no_address():
    error = named(400, {"error": {"message": "Bad schema, see https://internal.test/docs now.", "param": "tools"}})

    assert error.message == "The provider refused the request."
    assert error.for_caller == "The provider refused the request. Bad schema, see  now."
    assert isinstance(error, errors.RequestRefused)
    assert error.parameter == "tools"


def test_the_user_sees_no_page_of_a_proxy():
    assert named(400, b"<html>nginx at 10.0.0.1</html>").for_caller == "The provider refused the request."


def test_the_user_learns_nothing_of_our_key():
    assert str(named(401, {"error": {"message": "Key sk-123 of org-1 is bad."}})) == (
        "The provider refused the connection's key."
    )


def test_a_key_that_the_provider_masked_itself_is_hidden_too():
    assert named(401, {"error": {"message": "Incorrect API key: sk-proj-****wxyz."}}).evidence == (
        "Incorrect API key: [secret]."
    )


@pytest.mark.parametrize("status", [100, 204, 301, 307, 399])
def test_what_is_neither_answer_nor_refusal_is_a_bad_reply(status):
    assert type(named(status, b"")) is errors.BadReply


@pytest.mark.parametrize("status", [520, 526, 599])
def test_unknown_failures_of_servers_may_be_tried_again(status):
    assert type(named(status, b"")) is errors.ServerFailed
