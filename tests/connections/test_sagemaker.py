"""Checks and lists of SageMaker's control plane, signed, through our own transport."""

import pytest

from connections import runtime, services, trials
from connections.providers import errors
from tests.upstream import sigv4
from tests.upstream.sagemaker import ENDPOINTS


@pytest.fixture
def sagemaker(connect, upstream):
    def make(**settings):
        address = upstream.url("sagemaker")
        return connect(
            "sagemaker",
            {"tgi-1": "chat"},
            kind="sagemaker",
            settings={"region": "us-east-1", "endpoint_url": address, "control_url": address, **settings},
            secrets={"access_key_id": sigv4.KEY_ID, "secret_access_key": sigv4.SECRET},
        )

    return make


def offered(connection):
    return [model.id for model in runtime.run(trials.models_at(services.provider_of(connection), ""))]


def test_all_endpoints_in_service_are_offered(sagemaker):
    assert offered(sagemaker()) == list(ENDPOINTS)


def test_the_endpoint_to_check_is_looked_at_first(sagemaker, upstream):
    assert offered(sagemaker(check_endpoint="own-1")) == list(ENDPOINTS)
    assert upstream.requests[0].headers["x-amz-target"] == "SageMaker.DescribeEndpoint"


def test_an_endpoint_that_is_not_there_is_named(sagemaker):
    with pytest.raises(errors.ModelMissing, match="There is no endpoint gone-1 in us-east-1"):
        offered(sagemaker(check_endpoint="gone-1"))
