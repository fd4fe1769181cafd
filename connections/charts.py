"""The latency chart of a connection's checks, as coordinates for an SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from connections.models import HealthCheck

WIDTH, HEIGHT = 720, 140
FLOOR = 100
"""Milliseconds that the axis reaches at least."""


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    check: HealthCheck


@dataclass(frozen=True, slots=True)
class Chart:
    points: Sequence[Point]
    top: int
    """Milliseconds at the upper edge."""
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def line(self) -> str:
        return " ".join(f"{point.x},{point.y}" for point in self.points)


def latency(checks: Sequence[HealthCheck]) -> Chart:
    """`checks`: the oldest first."""
    top = max([FLOOR, *(check.total_ms for check in checks)])
    step = WIDTH / max(1, len(checks) - 1)
    points = [
        Point(round(place * step, 1), round(HEIGHT - check.total_ms / top * (HEIGHT - 4) - 2, 1), check)
        for place, check in enumerate(checks)
    ]
    return Chart(points, top)
