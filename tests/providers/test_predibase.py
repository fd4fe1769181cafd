"""Predibase's addresses, and LoRAX servers of one's own."""

import json

import pytest
from pydantic import ValidationError

from connections.providers.calls import Call, Mode, Target
from tests.providers.conftest import make

OWN = {"base_url": "http://lorax.internal:8080/v1", "tenant": "", "deployment": "", "api_key": ""}


def test_a_server_of_ones_own_is_asked_in_the_same_way():
    provider = make("predibase", **OWN)
    call = Call(Mode.COMPLETION, Target("acme/lora", Mode.COMPLETION), {"prompt": "Hi", "max_tokens": 5})

    request = provider.request(call)

    assert request.url == "http://lorax.internal:8080/generate"
    assert json.loads(request.body)["parameters"]["adapter_id"] == "acme/lora"
    assert "adapter_source" not in json.loads(request.body)["parameters"]
    assert provider.check().url == "http://lorax.internal:8080/health"


@pytest.mark.parametrize(
    "settings",
    [
        {"tenant": ""},
        {"deployment": ""},
        {"api_key": ""},
        {"tenant": "a/b"},
        {"deployment": "../x"},
        {"deployment": "a?b"},
        {"tenant": "a b"},
    ],
    ids=str,
)
def test_an_incomplete_or_odd_address_is_refused(settings):
    with pytest.raises(ValidationError):
        make("predibase", **settings)
