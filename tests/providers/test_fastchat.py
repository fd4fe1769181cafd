"""FastChat's controller names the worker that embeds: where it may send us."""

import json

import pytest
from pydantic import ValidationError

from connections.providers import errors
from connections.providers.calls import Answer, Mode
from tests.providers.conftest import a_call, make


def asked(address, **settings):
    """The request to the worker that the controller names."""
    provider = make("fastchat", base_url="http://controller.test:21001", role="controller", **settings)
    steps = provider.steps(a_call(provider, Mode.EMBEDDING))
    assert next(steps).url == "http://controller.test:21001/get_worker_address"
    return steps.send(Answer(200, {}, json.dumps({"address": address}).encode()))


def test_a_worker_beside_the_controller_is_asked():
    assert asked("http://controller.test:21002").url == "http://controller.test:21002/worker_get_embeddings"


def test_a_worker_on_a_listed_host_is_asked():
    url = asked("http://gpu-1.test:21002/", worker_hosts=["GPU-1.test"]).url

    assert url == "http://gpu-1.test:21002/worker_get_embeddings"


@pytest.mark.parametrize("address", ["http://evil.test:21002", "http://controller.test.evil.test"])
def test_a_worker_elsewhere_is_not(address):
    with pytest.raises(errors.AddressRefused, match="hosts of workers"):
        asked(address, worker_hosts=["gpu-1.test"])


@pytest.mark.parametrize(
    "address", ["controller.test:21002", "file:///etc/passwd", "http://controller.test:x", "http://a@b"]
)
def test_what_is_no_address_is_a_bad_reply(address):
    with pytest.raises(errors.BadReply, match="no address"):
        asked(address)


def test_without_a_worker_the_model_is_missing():
    with pytest.raises(errors.ModelMissing):
        asked("")


@pytest.mark.parametrize("host", ["http://gpu-1.test", "gpu-1.test:21002", "a b", ""])
def test_a_host_is_a_name_alone(host):
    with pytest.raises(ValidationError, match="no host's name"):
        make("fastchat", worker_hosts=[host])
