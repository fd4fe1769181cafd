"""How long calls took, in steps that are each 5 % longer than the one before: enough to tell a slow end by."""

import math
from collections.abc import Mapping
from typing import Any

from django.db.models import F, IntegerField
from django.db.models.functions import Cast, Floor, Ln

STEPS = 20
"""As many as there are in a factor of e."""
STEP: Any = Cast(Floor(Ln(F("total_ms") + 1.0) * STEPS), IntegerField())
"""Of a usage row."""


def slow_end(calls: Mapping[int, int]) -> int | None:
    """The milliseconds that 95 % of these calls, counted by step, stayed under."""
    left = sum(calls.values()) * 95 // 100
    for step in sorted(calls):
        left -= calls[step]
        if left < 0:
            return round(math.exp((step + 0.5) / STEPS) - 1)
    return None
