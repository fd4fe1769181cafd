"""What one call leaves to be written down."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import add

from msgspec import Struct, field

from access.principal import Principal
from connections import prices
from connections.prices import OwnPrice, own_in_force
from connections.providers.calls import Mode, Target, Usage
from connections.providers.contract import Provider
from gateway.chance import drawn
from gateway.envelope import Problem
from gateway.models import Usage as UsageRow

MAX_COST = 10**15
"""A million dollars, of one upstream call: more comes of a mistake, and would soon be more than a sum can hold."""

RANDOM, FIXED = 0x0FFF_3FFF_FFFF_FFFF_FFFF, 0x7000_8000_0000_0000_0000
"""Of an id's last 80 bits: those to choose, and what RFC 9562 wants of the others."""


def new_id() -> uuid.UUID:
    """In the order of time (version 7): what is written together lies together in the index, a fifth cheaper."""
    chosen = int.from_bytes(drawn()) & RANDOM
    return uuid.UUID(int=time.time_ns() // 1_000_000 << 80 | chosen | FIXED)


@dataclass(slots=True)
class Tried:
    """One upstream call in the making of its row."""

    number: int
    connection_id: uuid.UUID
    connection: str
    model_id: uuid.UUID
    model: str
    state: str
    error_code: str
    upstream_status: int | None
    usage: Usage | None
    """None: it failed, and the provider told none."""
    cost: int | None
    total_ms: int


class Record(Struct):
    """One row of the ledger in the making; every column of `gateway.models.Usage` is a field."""

    request_id: str
    source: str
    mode: Mode
    principal: str
    user_id: int | None
    key_id: str
    model: str = ""
    route: str = ""
    id: uuid.UUID = field(default_factory=new_id)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    connection_id: uuid.UUID | None = None
    connection: str = ""
    model_id: uuid.UUID | None = None
    upstream_model: str = ""
    stream: bool = False
    state: str = UsageRow.State.OK
    status: int = 200
    error_code: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    search_units: int = 0
    estimated: bool = False
    suspect: bool = False
    cost: int | None = None
    price_source: str = ""
    first_token_ms: int | None = None
    total_ms: int = 0
    adjusted: list[str] = []
    budgets: list[int] = []
    usage: Usage = Usage()
    """What `take_usage` was told, for the price."""
    attempts: list[Tried] = []
    """Rows of their own, if the call failed or took more than one."""
    leased: dict[int, str] = {}
    """Of the windows in `budgets`: who holds the lease that pays."""

    @classmethod
    def of(cls, principal: Principal, mode: Mode, source: str, request_id: str) -> "Record":
        return cls(request_id, source, mode, principal.label, principal.user_id, principal.key_id)

    @property
    def once(self) -> bool:
        """Whether its request id is that of a job's claim, of which only the first row counts."""
        return self.source == "generation"

    def take_answer(self, finish_reason: str, model: str) -> None:
        """What the provider says of its answer."""
        self.finish_reason, self.upstream_model = _storable(finish_reason), _storable(model)

    def take_usage(self, usage: Usage) -> None:
        self.prompt_tokens, self.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        self.cached_tokens, self.cache_write_tokens = usage.cached_tokens, usage.cache_write_tokens
        self.reasoning_tokens, self.images = usage.reasoning_tokens, usage.images
        self.search_units, self.usage = usage.search_units, usage
        self.estimated, self.suspect = usage.estimated, usage.suspect

    def fail(self, problem: Problem) -> None:
        self.state, self.status, self.error_code = UsageRow.State.ERROR, problem.status, problem.code

    def price(self, provider: Provider, target: Target, own: Sequence[OwnPrice] = ()) -> None:
        """`own`: what admins set for the model. The price that held when the call began counts."""
        cost = self.cost_of(self.usage, provider, target, own)
        self.cost, self.price_source = cost.nano, cost.source
        self.suspect = self.suspect or self.cost == MAX_COST

    def cost_of(self, usage: Usage, provider: Provider, target: Target, own: Sequence[OwnPrice] = ()) -> prices.Cost:
        held = own_in_force(own, self.at.timestamp()) if own else None
        cost = prices.cost(provider.priced_as(target), provider.price_provider, usage, held)
        return cost if cost.nano is None else cost._replace(nano=min(cost.nano, MAX_COST))

    def add_attempts(self, tried: list[Tried]) -> None:
        """What all attempts used and cost is what the call did; those not known to be billed add nothing."""
        self.attempts = tried
        spent = [one for one in tried[:-1] if one.usage is not None]
        if not spent:
            return
        if tried[-1].usage is not None:
            spent.append(tried[-1])
        self.take_usage(reduce(add, [one.usage for one in spent if one.usage is not None]))
        costs = [one.cost for one in spent]
        self.cost = None if None in costs else sum(cost or 0 for cost in costs)
        self.suspect = self.suspect or MAX_COST in costs


def _storable(text: str) -> str:
    """Providers say whatever they like: without what no database takes. The column cuts what is too long."""
    if "\0" in text or not text.isascii():
        return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return text
