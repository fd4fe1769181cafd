"""Clarifai: one token under two names, and models with long names."""

import json

import pytest

from connections.providers import errors
from connections.providers.calls import Call, Mode, Target
from tests.providers.conftest import make

KEY = "sk-canary/0123+456=789-abc"


def signed(upstream_id, mode=Mode.CHAT):
    content = {"messages": []} if mode is Mode.CHAT else {"prompt": "Hi"}
    provider = make("clarifai")
    return provider.auth.sign(provider.request(Call(mode, Target(upstream_id, mode), content)))


def test_each_wire_has_its_own_name_for_the_token():
    assert signed("acme/main/writer").headers["Authorization"] == f"Bearer {KEY}"
    assert signed("acme/main/writer", Mode.COMPLETION).headers["Authorization"] == f"Key {KEY}"


@pytest.mark.parametrize(
    "name",
    [
        "acme/main/writer/versions/v1",
        "acme/main/models/writer/versions/v1",
        "https://clarifai.com/acme/main/models/writer/versions/v1",
    ],
)
def test_a_model_may_be_named_in_full_or_short(name):
    full = "https://clarifai.com/acme/main/models/writer/versions/v1"

    assert json.loads(signed(name).body)["model"] == full
    assert signed(name, Mode.COMPLETION).url.endswith("/users/acme/apps/main/models/writer/versions/v1/outputs")


@pytest.mark.parametrize("name", ["writer", "acme/../writer", "https://evil.test/a/b/models/c", "a/b/c?x=1", "a/b/c/d"])
def test_other_names_are_refused(name):
    with pytest.raises(errors.RequestRefused, match="user/app/model"):
        signed(name)
