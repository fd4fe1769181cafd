"""What a call costs, in whole 10⁻⁹ US dollars. What we do not know stays None, never 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple

import genai_prices
from genai_prices import data_snapshot
from genai_prices.types import ModelPrice, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from connections import prices_extra
from connections.providers.calls import Usage

TABLE = f"genai-prices {genai_prices.__version__}"
OVERRIDE = "own price"
NAMES: Mapping[str, str] = {
    "input": "Input, USD per million tokens",
    "output": "Output, USD per million tokens",
    "cache_read": "Input read from cache, per million tokens",
    "cache_write": "Input written to cache, per million tokens",
    "image": "Per image, USD",
    "search_unit": "Per search unit, USD",
    "second": "Per second of machine time, USD",
    "call": "Per call, USD",
}
"""What an own price may name."""
PER_TOKEN = frozenset({"input", "output", "cache_read", "cache_write"})
MAX_PRICE = Decimal(1_000_000)
MAX_DECIMALS = 9
FINE = 1_000_000
"""Sums are made in whole 10⁻¹⁵ dollars, so that a price of nine decimals per million tokens is exact."""


class Cost(NamedTuple):
    nano: int | None
    """10⁻⁹ USD; None: not known."""
    source: str


UNKNOWN = Cost(None, "")


class OwnPrice(NamedTuple):
    """What an admin says that a model costs, from `starts` to before `ends` (Unix time; None: without end)."""

    id: int
    amounts: Mapping[str, str]
    starts: float
    ends: float | None

    @property
    def source(self) -> str:
        return f"{OVERRIDE} {self.id}"


def own_in_force(own: Sequence[OwnPrice], now: float) -> OwnPrice | None:
    """The one that holds at this moment."""
    return next((price for price in own if price.starts <= now and (price.ends is None or now < price.ends)), None)


Constraint = StartDateConstraint | TimeOfDateConstraint


@dataclass(frozen=True, slots=True)
class Rate:
    """10⁻¹⁵ USD per token; `steps` give the rate of all tokens once a prompt is longer than the step."""

    base: int
    steps: tuple[tuple[int, int], ...] = ()

    def at(self, prompt_tokens: int) -> int:
        if not self.steps:
            return self.base
        reached = [rate for start, rate in self.steps if prompt_tokens > start]
        return reached[-1] if reached else self.base


@dataclass(frozen=True, slots=True)
class Rates:
    """One model's price per class of token. None: not known; for the cache's classes, the same as input."""

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    call: Rate | None = None
    """What each call costs beside its tokens; this and the following are per piece instead of per token."""
    search_unit: Rate | None = None
    second: Rate | None = None
    image: Mapping[str, Rate] = field(default_factory=dict)
    """By the class of the picture (`Usage.image_class`); under "": of any other."""

    def nano(self, usage: Usage) -> int | None:
        """None: something that costs was not told, or nothing is known to cost."""
        if not self._is_by_piece:  # as most models have it
            given, made = self._prompt(usage), self._completion(usage)
            return None if given is None or made is None else (given + made + FINE // 2) // FINE
        parts = [*self._tokens(usage), *self._pieces(usage)]
        known = [part for part in parts if part is not None]
        return (sum(known) + FINE // 2) // FINE if len(known) == len(parts) else None

    def _tokens(self, usage: Usage) -> list[int | None]:
        if self.input is None and self.output is None:
            return []
        return [self._prompt(usage), self._completion(usage)]

    @property
    def _is_by_piece(self) -> bool:
        return bool(self.image or self.search_unit or self.second or self.call)

    def _pieces(self, usage: Usage) -> list[int | None]:
        pieces: list[int | None] = [self.call.base] if self.call else []
        if self.search_unit:
            pieces.append(usage.search_units * self.search_unit.base if usage.search_units else None)  # none: not told
        if self.second:
            pieces.append(round(usage.seconds * self.second.base))
        if self.image:
            rate = self.image.get(usage.image_class) or self.image.get("")
            pieces.append(usage.images * rate.base if rate else None)
        return pieces

    def pieces(self) -> dict[str, int]:
        """10⁻⁹ USD per piece; of pictures the cheapest."""
        cheapest = min(self.image.values(), key=lambda rate: rate.base, default=None)
        found = {"image": cheapest, "search_unit": self.search_unit, "second": self.second, "call": self.call}
        return {name: rate.base // FINE for name, rate in found.items() if rate}

    def _prompt(self, usage: Usage) -> int | None:
        if usage.billed_prompt_tokens is not None and self.input is not None:
            return usage.billed_prompt_tokens * self.input.at(usage.billed_prompt_tokens)
        tokens = usage.prompt_tokens
        if tokens is None or self.input is None:
            return None
        if not (usage.cached_tokens or usage.cache_write_tokens):
            return tokens * self.input.at(tokens)
        cached = min(usage.cached_tokens, tokens)
        written = min(usage.cache_write_tokens, tokens - cached)
        read_rate, write_rate = self.cache_read or self.input, self.cache_write or self.input
        return (
            (tokens - cached - written) * self.input.at(tokens)
            + cached * read_rate.at(tokens)
            + written * write_rate.at(tokens)
        )

    def _completion(self, usage: Usage) -> int | None:
        """A model without an output price may only have no output."""
        tokens = usage.completion_tokens if usage.billed_completion_tokens is None else usage.billed_completion_tokens
        if self.output is None:
            return None if tokens else 0
        if tokens is None:
            return None
        return tokens * self.output.at(usage.prompt_tokens or 0)


Listed = tuple[Constraint | None, Rates]
"""A price of the table and when it holds; None: always."""


def cost(model_name: str, price_provider: str, usage: Usage, own: OwnPrice | None = None) -> Cost:
    """The cost of one call. `price_provider` is an id of the table; empty: the model's name alone decides.

    An id that the table does not have (a local server's) means that no price is known but an admin's own.
    """
    if own is not None:
        return _cost(_own_rates(tuple(sorted(own.amounts.items()))), usage, own.source)
    if listed := _listed(model_name, price_provider):
        return _cost(_in_force(listed), usage, TABLE)
    extra = prices_extra.find(price_provider, model_name)
    return _cost(_own_rates(extra.amounts), usage, extra.source) if extra else UNKNOWN


class Shown(NamedTuple):
    """A model's price as it is shown, in 10⁻⁹ USD."""

    input: int | None
    """Per million tokens."""
    output: int | None
    pieces: Mapping[str, int]
    """Per `image` (the cheapest), `search_unit`, `second` and `call`."""
    source: str


def shown(model_name: str, price_provider: str, own: OwnPrice | None = None) -> Shown | None:
    """The price that holds now; None: not known. The parameters are those of `cost`."""
    if own is not None:
        rates, source = _own_rates(tuple(sorted(own.amounts.items()))), own.source
    elif listed := _listed(model_name, price_provider):
        rates, source = _in_force(listed), TABLE
    elif extra := prices_extra.find(price_provider, model_name):
        rates, source = _own_rates(extra.amounts), extra.source
    else:
        return None
    return Shown(_base(rates.input), _base(rates.output), rates.pieces(), source)


def _base(rate: Rate | None) -> int | None:
    return rate.base if rate else None


def load() -> None:
    """Read the table now; otherwise the first call does, for a third of a second."""
    data_snapshot.get_snapshot()
    prices_extra.table()


def check_override(override: Any) -> None:
    """Raise ValueError, with a sentence for the admin, unless this can serve as a model's own price."""
    if not isinstance(override, Mapping):
        raise ValueError("A price is given as input and output, in USD per million tokens.")
    unknown = sorted(set(override) - set(NAMES), key=str)
    if unknown:
        raise ValueError(f"Unknown price {unknown[0]!r}. Known: {', '.join(NAMES)}.")
    for name, text in override.items():
        _check_amount(name, text)


def _check_amount(name: str, text: Any) -> None:
    try:
        amount = Decimal(text) if isinstance(text, str) and len(text) <= 40 else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite():
        raise ValueError(f"The {name} price must be a number like 0.15, in USD{_unit(name)}.")
    if not 0 <= amount <= MAX_PRICE:
        raise ValueError(f"The {name} price must lie between 0 and {MAX_PRICE:,} USD{_unit(name)}.")
    if -int(amount.as_tuple().exponent) > MAX_DECIMALS:
        raise ValueError(f"The {name} price must not have more than {MAX_DECIMALS} decimals.")


def _unit(name: str) -> str:
    return " per million tokens" if name in PER_TOKEN else ""


def _cost(rates: Rates, usage: Usage, source: str) -> Cost:
    nano = rates.nano(usage)
    return UNKNOWN if nano is None else Cost(nano, source)


@lru_cache(maxsize=4096)
def _own_rates(override: tuple[tuple[str, str], ...]) -> Rates:
    """`image hd 1024x1792` is the price of one class of pictures."""
    rates: dict[str, Any] = {"image": {}}
    for name, text in override:
        rate = Rate(_fine(Decimal(text)) * (1 if name in PER_TOKEN else FINE))
        if name.startswith("image"):
            rates["image"][name.removeprefix("image").strip()] = rate
        else:
            rates[name] = rate
    return Rates(**rates)


@lru_cache(maxsize=4096)
def _listed(model_name: str, price_provider: str) -> tuple[Listed, ...]:
    """The model's prices, the one that counts most first; empty: the table does not know it."""
    try:
        found = data_snapshot.get_snapshot().find_provider_model(model_name, None, price_provider or None, None)
    except LookupError:
        return ()
    prices = found[1].prices
    if isinstance(prices, ModelPrice):
        return ((None, _rates(prices)),)
    return tuple((price.constraint, _rates(price.prices)) for price in reversed(prices))


def _in_force(listed: tuple[Listed, ...]) -> Rates:
    """Some prices hold from a date on, or for hours of the day."""
    if len(listed) > 1:
        now = datetime.now(UTC)
        for constraint, rates in listed:
            if constraint is None or constraint.active(now):
                return rates
    return listed[-1][1]


def _rates(price: ModelPrice) -> Rates:
    return Rates(
        input=_rate(price.input_mtok),
        output=_rate(price.output_mtok),
        cache_read=_rate(price.cache_read_mtok),
        cache_write=_rate(price.cache_write_mtok),
        call=Rate(_fine(price.requests_kcount * 1000)) if isinstance(price.requests_kcount, Decimal) else None,
    )


def _rate(price: Decimal | TieredPrices | None) -> Rate | None:
    if isinstance(price, TieredPrices):
        return Rate(_fine(price.base), tuple((tier.start, _fine(tier.price)) for tier in price.tiers))
    return None if price is None else Rate(_fine(price))


def _fine(price: Decimal) -> int:
    """USD per million tokens as 10⁻¹⁵ USD per token."""
    return int((price * 10**MAX_DECIMALS).to_integral_value(ROUND_HALF_UP))
