"""The short call that costs a little, and who writes down what it cost."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from access.principal import Principal, system
from access.threads import in_thread
from connections.clock import ms_since
from connections.exchange import Exchange
from connections.models import Connection, Model
from connections.providers.calls import Call, Mode, Reply, Target, Usage
from connections.providers.contract import Provider
from connections.providers.errors import ProviderError, TimedOut
from connections.transport import NetworkOptions, Timeouts, Transport

TIMEOUTS = Timeouts(connect=5, first_byte=30, between=10, total=30)
BODIES: Mapping[Mode, dict[str, Any]] = {
    Mode.CHAT: {"messages": [{"role": "user", "content": "Say OK."}], "max_tokens": 5},
    Mode.COMPLETION: {"prompt": "Say OK.", "max_tokens": 5},
    Mode.EMBEDDING: {"input": "OK"},
    Mode.IMAGE: {"prompt": "A grey square."},
    Mode.RERANK: {"query": "OK", "documents": ["OK", "No"]},
}


@dataclass(slots=True)
class MeteredCall:
    """One paid call of a test or check, for the ledger."""

    provider: Provider
    target: Target
    connection: Connection | None = None
    """None: the settings are not saved yet."""
    model: Model | None = None
    """None: the model is not saved yet."""
    principal: Principal = field(default_factory=lambda: system("health"))
    total_ms: int = 0
    reply: Reply | None = None
    error: ProviderError | None = None
    """What went wrong; None: it was answered."""

    @property
    def usage(self) -> Usage:
        told = self.reply.usage if self.reply else self.error.usage if self.error else None
        return told or Usage()

    @property
    def upstream_model(self) -> str:
        """What the provider says it used."""
        return self.reply.model if self.reply else ""

    @property
    def finish_reason(self) -> str:
        return self.reply.finish_reason if self.reply else ""


meters: list[Callable[[MeteredCall], None]] = []
"""Who writes paid calls down; called in a thread that may use the database."""


async def short_call(
    transport: Transport,
    provider: Provider,
    options: NetworkOptions,
    target: Target,
    *,
    connection: Connection | None = None,
    model: Model | None = None,
) -> Reply:
    """Ask for a handful of tokens the way every real call is made. It is metered, whatever comes of it."""
    made = MeteredCall(provider, target, connection, model, error=TimedOut("The call was given up."))
    started = perf_counter()
    try:
        call = Call(target.mode, target, dict(BODIES[target.mode]))
        made.reply = await Exchange(transport, provider, options, TIMEOUTS).ask(call)
        made.error = None
        return made.reply
    except ProviderError as error:
        made.error = error
        raise
    finally:
        made.total_ms = ms_since(started)
        await asyncio.shield(in_thread(_meter, made))


def _meter(call: MeteredCall) -> None:
    for meter in meters:
        meter(call)
