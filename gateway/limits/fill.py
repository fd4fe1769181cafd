"""How much of a limit is taken now, as Valkey has it; only looked at, never changed."""

import math
from collections.abc import Sequence
from typing import Any

import redis
from django.conf import settings
from redis.exceptions import RedisError

from gateway.limits.counters import PATIENCE
from gateway.limits.rules import Rule

Fill = int | None
"""None: nobody knows, because Valkey is not there."""


def taken(rules: Sequence[Rule]) -> list[Fill]:
    """In two round trips, however many they are."""
    if not rules or not settings.REDIS_URL:
        return [None] * len(rules)
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
        ) as client:
            seconds, rest = client.time()
            now = seconds * 1_000_000 + rest
            return [_amount(rule, found, now) for rule, found in zip(rules, _read(client, rules, now), strict=True)]
    except (RedisError, OSError):
        return [None] * len(rules)


def _read(client: "redis.Redis", rules: Sequence[Rule], now: int) -> list[Any]:
    with client.pipeline(transaction=False) as line:
        for rule in rules:
            if rule.what == "parallel":
                line.zcount(rule.name, f"({now}", "+inf")
            else:
                line.get(rule.name)
        found: list[Any] = line.execute()
        return found


def _amount(rule: Rule, found: Any, now: int) -> int:
    if rule.what == "parallel":
        return int(found)
    full, _, of = (found or b"0:0").partition(b":")
    empty_in = max(int(full) - now, 0) / 1e6
    return min(rule.amount, math.ceil(empty_in * int(of or 0) / rule.seconds))
