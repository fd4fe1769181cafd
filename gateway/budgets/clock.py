"""The database's clock, as one process knows it without asking."""

import time
from datetime import datetime


class Clock:
    """Local time and how far the database is ahead of it, learned whenever the database is spoken to."""

    def __init__(self) -> None:
        self.offset = 0.0
        """Seconds."""

    def now(self) -> float:
        """Unix time."""
        return time.time() + self.offset

    def learn(self, told: datetime, asked: float) -> None:
        """`told`: what the database said; `asked`: the local time at which it was asked."""
        self.offset = told.timestamp() - (asked + time.time()) / 2
