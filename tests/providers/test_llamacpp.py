"""The llama.cpp server's own errors, and the parameters that only it knows."""

import json

import pytest

from connections.providers import errors
from connections.providers.calls import Answer, Call, Mode, Target
from tests.providers.conftest import a_call, make

ERRORS = [
    (400, "exceed_context_size_error", errors.ContextTooLong, False),
    (400, "invalid_request_error", errors.RequestRefused, False),
    (401, "authentication_error", errors.KeyRefused, False),
    (404, "not_found_error", errors.ModelMissing, False),
    (501, "not_supported_error", errors.RequestRefused, False),
    (503, "unavailable_error", errors.Overloaded, True),
]


@pytest.mark.parametrize(("status", "name", "expected", "retryable"), ERRORS)
def test_its_errors_are_named(status, name, expected, retryable):
    body = {"error": {"code": status, "message": "Loading model", "type": name}}

    error = make("llamacpp").problem(Answer(status, {}, json.dumps(body).encode()))

    assert (type(error), error.retryable, error.evidence) == (expected, retryable, "Loading model")


def test_a_server_without_its_model_is_not_called_overloaded():
    body = b'{"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}'

    error = make("llamacpp").problem(Answer(503, {"retry-after": "3"}, body))

    assert error.message == str(error) == "The server runs, but has no model to answer with yet."
    assert (error.evidence, error.retry_after) == ("Loading model", 3)


def test_it_samples_in_its_own_way():
    body = {"messages": [], "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1, "seed": 7, "grammar": "root ::= [a]"}
    call = Call(Mode.CHAT, Target("smollm2"), body)

    sent = json.loads(make("llamacpp").request(call).body)

    assert sent.pop("repeat_penalty") == 1.1
    assert sent == {"model": "smollm2", **{name: value for name, value in body.items() if name != "repetition_penalty"}}


def test_it_may_have_no_key():
    provider = make("llamacpp", api_key="")

    assert "Authorization" not in provider.request(a_call(provider)).headers
    assert provider.secrets() == []
