"""Any endpoint that speaks OpenAI's dialect: its address, its ways to sign in, its switches, its bad input."""

import json

import pytest
from pydantic import ValidationError

from connections.providers.calls import Answer, Call, Mode, Outgoing, Target
from tests.providers.conftest import a_call, make

KIND = "openai_compatible"


@pytest.mark.parametrize(
    ("typed", "called"),
    [
        ("https://llm.test", "https://llm.test/v1/chat/completions"),
        ("https://llm.test/", "https://llm.test/v1/chat/completions"),
        ("  https://llm.test/v1/  ", "https://llm.test/v1/chat/completions"),
        ("https://llm.test/v1/chat/completions", "https://llm.test/v1/chat/completions"),
        ("https://llm.test//openai//v1/models", "https://llm.test/openai/v1/chat/completions"),
        ("https://llm.test/serve/v1?api-version=1", "https://llm.test/serve/v1/chat/completions?api-version=1"),
        ("http://127.0.0.1:11434/v1/embeddings/", "http://127.0.0.1:11434/v1/chat/completions"),
    ],
)
def test_addresses_are_tidied(typed, called):
    provider = make(KIND, base_url=typed)

    assert provider.request(a_call(provider)).url == called
    assert make(KIND, base_url=provider.settings.base_url).settings == provider.settings


@pytest.mark.parametrize(
    "url",
    [
        "",
        "llm.test",
        "ftp://llm.test",
        "file:///etc/passwd",
        "unix:/run/x",
        "https://",
        "https://u:p@llm.test",
        "https://llm.test/#x",
        "https://llm.test/a b",
        "https://llm.test/\r\nX: y",
        "https://llm.test\\@evil.test",
        "https://llm.test:0",
        "https://llm.test:65536",
        "https://ｌｌｍ.test",
        "https://[::1",
        "gopher://llm.test",
    ],
)
def test_bad_addresses_are_refused(url):
    with pytest.raises(ValidationError):
        make(KIND, base_url=url)


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"api_key": "abc123"}, {"Authorization": "Bearer abc123"}),
        ({"sign_in": "header", "header_name": "api-key", "api_key": "abc123"}, {"api-key": "abc123"}),
        ({"sign_in": "basic", "username": "ada", "api_key": "abc123"}, {"Authorization": "Basic YWRhOmFiYzEyMw=="}),
    ],
)
def test_ways_to_sign_in(settings, header):
    provider = make(KIND, **settings)

    assert provider.auth.sign(Outgoing("GET", "")).headers == header


def test_sign_in_by_nothing():
    assert make(KIND, sign_in="none", api_key="").auth.sign(Outgoing("GET", "")).headers == {}


@pytest.mark.parametrize(
    "settings",
    [{"api_key": ""}, {"sign_in": "header"}, {"sign_in": "basic"}, {"sign_in": "basic", "username": "a:b"}]
    + [{"sign_in": "header", "header_name": name} for name in ("Host", "content-length", "two words", "a:b", "é")],
)
def test_an_incomplete_sign_in_is_refused(settings):
    with pytest.raises(ValidationError):
        make(KIND, **settings)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.test"},
        {"content-length": "1"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"Authorization": "Bearer x"},
        {"two words": "x"},
        {"X-Colon:": "x"},
        {"": "x"},
        {"X-Team": "a\r\nX-Evil: b"},
        {"X-Team": "a\nb"},
        {"X-Team": "🐟"},
        {"X-Team": "a", "x-team": "b"},
    ],
    ids=str,
)
def test_bad_extra_headers_are_refused(headers):
    with pytest.raises(ValidationError):
        make(KIND, extra_headers=headers)


def test_space_around_a_secret_is_cut_off():
    assert make(KIND, api_key="  abc123\n").auth.sign(Outgoing("GET", "")).headers == {"Authorization": "Bearer abc123"}


def test_switches_shape_the_request():
    provider = make(
        KIND, max_tokens_name="max_completion_tokens", stream_options=False, drop_parameters=["seed", "logit_bias"]
    )
    call = Call(Mode.CHAT, Target("m"), {"messages": [], "max_tokens": 5, "seed": 1, "top_k": 4}, stream=True)

    body = json.loads(provider.request(call).body)

    assert body == {"model": "m", "messages": [], "max_completion_tokens": 5, "top_k": 4, "stream": True}
    assert list(map(str, call.adjusted)) == ["max_tokens renamed to max_completion_tokens", "seed dropped"]


def test_a_server_without_a_list_of_models_is_not_broken():
    provider = make(KIND)

    assert provider.check_problem(Answer(404, {}, b"Not Found")) is None
    assert provider.check_problem(Answer(403, {}, b"")) is not None


def test_names_from_the_lists_of_other_servers():
    found = make(KIND).models(Answer(200, {}, b'{"models": [{"name": "llama3:8b", "context_length": 8192}]}'))

    assert [(model.id, model.context) for model in found] == [("llama3:8b", 8192)]
