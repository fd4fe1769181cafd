"""Trying a connection out on somebody's behalf: the "Test" button and the list of models, for pages and API."""

from collections.abc import AsyncIterator

from connections import health, runtime
from connections.health import Stage
from connections.models import Connection
from connections.providers.calls import ModelInfo, Target
from connections.providers.contract import Provider
from connections.transport import NetworkOptions


async def stages(
    provider: Provider, certificate: str, *, target: Target | None = None, connection: Connection | None = None
) -> AsyncIterator[Stage]:
    """Each stage when it begins and when it ends; see `health.staged_test`."""
    transport = await runtime.transport()
    options = NetworkOptions(certificate)
    async for stage in health.staged_test(transport, provider, options, target=target, connection=connection):
        yield stage


async def finished(stages: AsyncIterator[Stage]) -> list[Stage]:
    """The stages' results, once all are there."""
    return [stage async for stage in stages if stage.state != health.Progress.RUNNING]


async def models_at(provider: Provider, certificate: str) -> list[ModelInfo]:
    """What the account offers. Raises ProviderError."""
    return await health.discover(await runtime.transport(), provider, NetworkOptions(certificate))
