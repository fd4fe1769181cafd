"""What the free check finds out about AWS connections, and what their models' lists mean."""

import json

import pytest

from connections import health
from connections.models import Connection, Model, State
from connections.providers import registry
from connections.providers.calls import Mode
from connections.transport import NetworkOptions, Transport
from connections.views.wizard import ticked
from tests.upstream import sigv4
from tests.upstream.bedrock import MODELS, NOVA, PROFILE
from tests.upstream.faults import Fault

KEYS = {"access_key_id": sigv4.KEY_ID, "secret_access_key": sigv4.SECRET}


@pytest.fixture
async def transport():
    async with Transport() as transport:
        yield transport


@pytest.fixture
def connection(upstream):
    """`connection("bedrock")` or `connection("aws_credential")`: not saved."""

    def make(kind: str, **secrets) -> Connection:
        root = f"http://127.0.0.1:{upstream.port}/bedrock"
        told = {"region": "us-east-1", "endpoint_url": root, "control_url": root, "sts_url": f"{root}/sts"}
        known = registry.providers()[kind].Settings.model_fields
        settings = {name: value for name, value in told.items() if name in known}
        row = Connection(name="Main", slug="main", kind=kind, settings=settings)
        row.store_credential({**KEYS, **secrets})
        return row

    return make


def models(row: Connection) -> list[Model]:
    names = (NOVA, "amazon.gone-v1:0", PROFILE, f"eu.{NOVA}")
    return [Model(connection=row, upstream_id=name, public_id=f"main/{name}", mode=Mode.CHAT) for name in names]


async def check(transport, row, listed=()) -> health.Finding:
    return await health.check_connection(transport, row, row.provider(), listed)


async def test_a_lender_is_asked_whose_keys_it_has(transport, upstream, connection):
    found = await check(transport, connection("aws_credential"))

    assert found.state == State.HEALTHY
    assert [request.body for request in upstream.requests] == [b"Action=GetCallerIdentity&Version=2011-06-15"]


async def test_a_lender_with_a_wrong_secret_fails_and_says_what_to_do(transport, upstream, connection):
    found = await check(transport, connection("aws_credential", secret_access_key="wrong/Secret+4LmB1Qe2ZkV9tX"))

    assert found.state == State.FAILING
    assert "AWS does not accept the signature" in found.cause
    assert sigv4.KEY_ID not in found.cause + found.evidence


async def test_models_and_profiles_are_listed(transport, upstream, connection):
    found = await health.discover(transport, connection("bedrock").provider(), NetworkOptions())

    assert [info.id for info in found] == [*MODELS, f"us.{NOVA}", PROFILE]


async def test_a_profile_of_ones_own_that_is_ticked_brings_the_model_behind_it(transport, upstream, connection):
    """Its ARN tells nothing: price, family and abilities come from there."""
    found = await health.discover(transport, connection("bedrock").provider(), NetworkOptions())

    (chosen,) = ticked(found, [f"chat:{PROFILE}"])

    assert (chosen.upstream_id, chosen.underlying) == (PROFILE, NOVA)


async def test_only_what_the_list_would_name_is_missed(transport, upstream, connection):
    row = connection("bedrock")

    found = await check(transport, row, models(row))

    states = [one.state for one in found.models]
    assert states == [State.HEALTHY, State.FAILING, State.HEALTHY, State.UNKNOWN]


async def test_keys_that_may_not_list_are_healthy_and_miss_nothing(transport, upstream, connection):
    refusal = json.dumps({"message": "not authorized to perform: bedrock:ListFoundationModels"}).encode()
    upstream.script(Fault.status(403, refusal, x_amzn_errortype="AccessDeniedException"))
    row = connection("bedrock")

    found = await check(transport, row, models(row))

    assert found.state == State.HEALTHY
    assert {one.state for one in found.models} == {State.UNKNOWN}
