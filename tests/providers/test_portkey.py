"""Portkey's cloud and gateways of one's own: what each needs, and what is secret."""

import pytest
from pydantic import ValidationError

from connections.providers import errors
from connections.providers.calls import Answer
from tests.providers.conftest import make

CONFIG = '{\n  "targets": [{"provider": "openai", "api_key": "sk-hidden-7Qe2ZkV9"}]\n}'
OWN = {"base_url": "http://127.0.0.1:8787", "api_key": "", "virtual_key": "", "config": "", "custom_host": ""}


def signed(**settings):
    provider = make("portkey", **settings)
    return provider.auth.sign(provider.check()).headers


def test_a_gateway_of_ones_own_needs_no_portkey_key():
    headers = signed(**OWN, provider="openai", extra_headers={})

    assert headers == {
        "Content-Type": "application/json",
        "x-portkey-provider": "openai",
        "Authorization": "Bearer sk-canary/0123+456=789-abc",
    }


def test_a_config_of_many_lines_is_sent_on_one_and_kept_secret():
    provider = make("portkey", config=CONFIG)

    sent = provider.auth.sign(provider.check()).headers["x-portkey-config"]
    assert sent == '{"targets":[{"provider":"openai","api_key":"sk-hidden-7Qe2ZkV9"}]}'
    assert sent in provider.secrets()
    assert "sk-hidden" not in repr(provider.settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": ""},
        {**OWN, "provider": ""},
        {"config": "my-config"},
        {"config": '{"targets": '},
        {"config": '{"a": "' + "x" * 9000 + '"}'},
        {"provider": "open ai"},
        {"provider": "openai\r\nX: y"},
        {"provider": "@"},
        {"extra_headers": {"Authorization": "x"}},
        {"custom_host": "ftp://x"},
    ],
    ids=lambda settings: str(settings)[:60],
)
def test_an_incomplete_or_odd_setup_is_refused(settings):
    with pytest.raises(ValidationError):
        make("portkey", **settings)


def test_a_gateway_that_cannot_list_models_is_not_broken():
    own, cloud = make("portkey", **OWN), make("portkey")

    assert own.check_problem(Answer(404, {}, b"Not Found")) is None
    assert own.check_problem(Answer(500, {}, b"TypeError: immutable")) is None
    assert isinstance(own.check_problem(Answer(500, {}, b"boom")), errors.ServerFailed)
    assert isinstance(cloud.check_problem(Answer(404, {}, b"")), errors.ModelMissing)
