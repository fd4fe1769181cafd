"""AI21 answers a wrong key with an empty list; older models complete prompts, whole."""

from connections.providers import errors
from connections.providers.calls import Answer, Mode, Target
from tests.providers.conftest import make


def test_an_empty_list_of_models_is_a_refused_key():
    provider = make("ai21")

    assert isinstance(provider.check_problem(Answer(200, {}, b'{"data": []}')), errors.KeyRefused)
    assert provider.check_problem(Answer(200, {}, b'{"data": [{"id": "jamba-mini"}]}')) is None
    assert isinstance(provider.check_problem(Answer(500, {}, b"")), errors.ServerFailed)


def test_what_is_no_list_is_not_taken_for_one():
    assert make("ai21").check_problem(Answer(200, {}, b'{"models": []}')) is None


def test_jurassic_does_not_stream():
    able = make("ai21").abilities(Target("j2-ultra", Mode.COMPLETION))

    assert (able.streams, able.choices, able.prompts) == (False, 16, 1)
    assert make("ai21").abilities(Target("jamba-mini")).streams
