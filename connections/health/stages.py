"""A test in stages, on saved or unsaved settings, through the same client as every real call."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from time import perf_counter
from typing import Any

from connections.clock import ms_since
from connections.exchange import Exchange
from connections.health.paid import short_call
from connections.models import Connection
from connections.providers import errors
from connections.providers.calls import Answer, ModelInfo, Target
from connections.providers.contract import Provider
from connections.providers.errors import ProviderError
from connections.scrubbing import clean
from connections.transport import NetworkOptions, Timeouts, Transport

REACH, SIGN_IN, LIST, CALL = "DNS and TLS", "Sign-in", "Model list", "Short call"
TIMEOUTS = Timeouts(connect=5, first_byte=10, between=10, total=15)
EVIDENCE = 200
"""Characters of the provider's words that a test shows."""
MAX_LIST = 4 * 2**20
"""Bytes of a list of models; it is read in one go, while others wait."""
MAX_OFFERED = 5_000
LONGEST_ID = 300
MAX_LENGTH = 2**31 - 1
"""Of a context or an answer, in tokens."""

NEXT_STEPS: Mapping[type[ProviderError], str] = {
    errors.KeyRefused: "Enter a valid key for this connection.",
    errors.QuotaSpent: "Top up the account at the provider.",
    errors.ModelMissing: "Correct the model's id, or remove the model.",
    errors.RequestRefused: "Check the connection's address and settings.",
    errors.BadReply: "Check that the address is the one of the provider's API.",
    errors.AddressRefused: "Correct the address.",
    errors.TLSFailed: "Renew the certificate there, or add its authority to this connection.",
    errors.RateLimited: "Check less often, or have the limit raised at the provider.",
    errors.EngineStopped: "Start it on the connection's page.",
    errors.Unreachable: "Check that the address is right and that the provider is up.",
    errors.TimedOut: "Check that the address is right and that the provider is up.",
    errors.Temporary: "It is checked again soon.",
    errors.ProviderError: "Check the connection's settings.",
}
"""A class that is not listed goes by its nearest listed ancestor."""


class Progress(StrEnum):
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a test: what it is called, how far it is, and what it found."""

    name: str
    state: Progress
    ms: int | None = None
    detail: str = ""
    """Our sentence."""
    evidence: str = ""
    """The provider's own words, scrubbed; for connection admins."""

    @property
    def ok(self) -> bool:
        return self.state == Progress.OK

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "ok": self.ok, "ms": self.ms, "detail": self.detail}


async def staged_test(
    transport: Transport,
    provider: Provider,
    options: NetworkOptions,
    *,
    target: Target | None = None,
    connection: Connection | None = None,
) -> AsyncIterator[Stage]:
    """Each stage twice: when it begins, and with its result. The settings need not be saved.

    The short call is made when `target` is given; it costs, and is metered.
    """
    async for stage in Trial(transport, provider, options, connection).stages(target):
        yield stage


async def discover(transport: Transport, provider: Provider, options: NetworkOptions) -> list[ModelInfo]:
    """The account's models with the facts the catalogue has of them; the catalogue where none are listed."""
    if offered := provider.offered():
        return list(offered)
    try:
        exchange = Exchange(transport, provider, options, TIMEOUTS)
        listed = await exchange.run(provider.listing(await _free_check(exchange)))
    except ProviderError as error:
        clean(error, provider)
        raise
    known = {info.id: info for info in provider.catalogue}
    sound = islice(map(_sound, filter(_can_be_named, listed)), MAX_OFFERED)
    return [_completed(info, known.get(info.id)) for info in sound] or list(provider.catalogue)


def _can_be_named(info: ModelInfo) -> bool:
    return 0 < len(info.id) <= LONGEST_ID and info.id.isprintable()


def _sound(info: ModelInfo) -> ModelInfo:
    """Without lengths that no model has."""
    return replace(info, context=_length(info.context), max_output=_length(info.max_output))


def _length(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 < tokens <= MAX_LENGTH else None


def with_next_step(error: ProviderError) -> str:
    """What went wrong, and what to do about it."""
    step = next(NEXT_STEPS[kind] for kind in type(error).__mro__ if kind in NEXT_STEPS)
    return f"{error.message.rstrip('.')}. {step}"


@dataclass
class Trial:
    """One run through the stages, which remembers what it learnt."""

    transport: Transport
    provider: Provider
    options: NetworkOptions
    connection: Connection | None = None
    failures: dict[str, ProviderError] = field(default_factory=dict)
    """By stage."""
    listed: list[ModelInfo] = field(default_factory=list)
    """The models that the provider named."""
    _answer: Answer | None = None

    async def stages(self, target: Target | None = None) -> AsyncIterator[Stage]:
        steps = [(REACH, self._reach), (SIGN_IN, self._sign_in), (LIST, self._list)]
        if target is not None:
            steps.append((CALL, lambda: self._call(target)))
        for name, step in steps:
            if self._pointless(name):
                yield Stage(name, Progress.SKIPPED, detail="Not tried, because an earlier stage failed.")
            else:
                yield Stage(name, Progress.RUNNING)
                yield await self._finished(name, step)

    def _pointless(self, name: str) -> bool:
        """Unreached, nothing works. But a key that may not list models may still make calls."""
        return REACH in self.failures or (name == LIST and SIGN_IN in self.failures)

    async def _finished(self, name: str, step: Callable[[], Awaitable[str]]) -> Stage:
        started = perf_counter()
        state, evidence = Progress.OK, ""
        try:
            detail = await step()
        except ProviderError as error:
            clean(error, self.provider)
            self.failures[name] = error
            state, detail, evidence = Progress.FAILED, with_next_step(error), error.evidence[:EVIDENCE]
        return Stage(name, state, ms_since(started), detail, evidence)

    @property
    def _exchange(self) -> Exchange:
        return Exchange(self.transport, self.provider, self.options, TIMEOUTS)

    async def _reach(self) -> str:
        probe = await self.transport.probe(self.provider.check().url, options=self.options)
        secured = f", TLS {probe.tls_ms} ms" if probe.tls_ms else ""
        return f"{probe.address}: DNS {probe.dns_ms} ms, connection {probe.connect_ms} ms{secured}"

    async def _sign_in(self) -> str:
        self._answer = await _free_check(self._exchange)
        return "Accepted"

    async def _list(self) -> str:
        assert self._answer is not None  # noqa: S101 - the stage is skipped without a sign-in
        self.listed = await self._exchange.run(self.provider.listing(self._answer))
        if not self.listed:
            return "The provider does not list its models"
        return f"{len(self.listed)} models" if len(self.listed) > 1 else "1 model"

    async def _call(self, target: Target) -> str:
        reply = await short_call(self.transport, self.provider, self.options, target, connection=self.connection)
        return f"{reply.model or target.upstream_id} answered"


async def _free_check(exchange: Exchange) -> Answer:
    answer = await exchange.check()
    problem = exchange.provider.check_problem(answer)
    if problem is not None:
        raise problem
    if len(answer.body) > MAX_LIST:
        raise errors.BadReply(f"The provider's list of models is larger than {MAX_LIST} bytes.")
    return answer


def _completed(listed: ModelInfo, known: ModelInfo | None) -> ModelInfo:
    """What the provider says itself comes first, except for the mode, which lists seldom say."""
    if known is None:
        return listed
    said = {name: getattr(listed, name) for name in ModelInfo.__slots__ if name != "mode" and getattr(listed, name)}
    return replace(known, **said)
