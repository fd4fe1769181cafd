"""A proxy known by its full URL: nothing is added, and an empty question proves address and key."""

import pytest
from pydantic import ValidationError

from connections.providers import errors
from connections.providers.calls import Answer
from tests.providers.conftest import a_call, make


@pytest.mark.parametrize("url", ["https://proxy.test/chat/completions", "http://127.0.0.1:1/", "https://a.test/v1//x"])
def test_the_url_is_left_whole(url):
    provider = make("openai_proxy", base_url=f" {url} ")

    assert provider.request(a_call(provider)).url == provider.check().url == url


@pytest.mark.parametrize("url", ["", "proxy.test", "ftp://proxy.test", "https://u:p@proxy.test", "https://a.test/#x"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValidationError):
        make("openai_proxy", base_url=url)


def test_an_empty_question_is_understood():
    provider = make("openai_proxy")

    assert provider.check_problem(Answer(400, {}, b'{"error": {"message": "messages is empty"}}')) is None
    assert isinstance(provider.check_problem(Answer(401, {}, b"")), errors.KeyRefused)
    assert isinstance(provider.check_problem(Answer(404, {}, b"")), errors.ModelMissing)
