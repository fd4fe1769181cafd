"""One check of one connection. No database is used, so none is held while a provider is awaited."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from connections.clock import ms_since
from connections.health.paid import short_call
from connections.health.stages import Progress, Stage, Trial, with_next_step
from connections.models import Connection, Model, State
from connections.providers.contract import Provider
from connections.providers.errors import ProviderError, TimedOut
from connections.transport import NetworkOptions, Transport

DEADLINE = 60.0
"""Seconds that one check may take altogether."""
AT_ONCE = 4
"""Paid calls of one check that run side by side."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """What a check found about one model. `ms` None: the provider's list told, no call was made."""

    model: Model
    state: State
    cause: str = ""
    ms: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found about one connection."""

    state: State
    cause: str = ""
    evidence: str = ""
    stages: Sequence[Stage] = ()
    models: Sequence[ModelFinding] = ()

    @property
    def total_ms(self) -> int:
        return sum(stage.ms or 0 for stage in self.stages)


async def check_connection(
    transport: Transport,
    connection: Connection,
    provider: Provider,
    models: Sequence[Model] = (),
    to_call: Sequence[Model] = (),
) -> Finding:
    """The free check; then what the provider's list says of `models`, and one paid call each `to_call`."""
    trial = Trial(transport, provider, NetworkOptions(connection.ca_certificate), connection)
    try:
        async with asyncio.timeout(DEADLINE):
            return await _check(trial, models, to_call)
    except TimeoutError:
        return Finding(State.FAILING, with_next_step(TimedOut(f"The check took longer than {DEADLINE:g} s.")))
    except Exception:
        logger.exception("The check of connection %s broke off", connection.pk)
        return Finding(State.UNKNOWN, "The check broke off because of a fault of ours; the log says more.")


async def _check(trial: Trial, models: Sequence[Model], to_call: Sequence[Model]) -> Finding:
    stages = [stage async for stage in trial.stages() if stage.state != Progress.RUNNING]
    failed = next((stage for stage in stages if stage.state == Progress.FAILED), None)
    if failed is not None:
        return Finding(State.FAILING, failed.detail, failed.evidence, stages)
    found = Finding(State.HEALTHY, stages=stages, models=await _models(trial, models, to_call))
    state, cause = _pace(found.total_ms, trial)
    return replace(found, state=state, cause=cause)


async def _models(trial: Trial, models: Sequence[Model], to_call: Sequence[Model]) -> list[ModelFinding]:
    """A call tells more than the list, which may leave out what works."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def call(model: Model) -> ModelFinding:
        async with turns:
            return await _called(trial, model)

    called = await asyncio.gather(*(call(model) for model in to_call))
    names = {info.id for info in trial.listed}
    return [*called, *(_in_list(trial.provider, model, names) for model in models)]


async def _called(trial: Trial, model: Model) -> ModelFinding:
    started = perf_counter()
    try:
        await short_call(
            trial.transport, trial.provider, trial.options, model.target, connection=trial.connection, model=model
        )
    except ProviderError as error:
        return ModelFinding(model, State.FAILING, with_next_step(error), ms_since(started))
    ms = ms_since(started)
    return ModelFinding(model, *_pace(ms, trial), ms)


def _in_list(provider: Provider, model: Model, names: set[str]) -> ModelFinding:
    if model.upstream_id in names:
        return ModelFinding(model, State.HEALTHY)
    if not names or not provider.lists(model.upstream_id):
        return ModelFinding(model, State.UNKNOWN)
    cause = "The provider does not list this model. If its calls fail, choose another one."
    return ModelFinding(model, State.FAILING, cause)


def _pace(ms: int, trial: Trial) -> tuple[State, str]:
    """Healthy or slow, and why."""
    allowed = trial.connection.slow_after_ms if trial.connection else ms
    if ms <= allowed:
        return State.HEALTHY, ""
    return State.SLOW, f"Answered in {ms:,} ms; more than {allowed:,} ms counts as slow."
