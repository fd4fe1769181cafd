"""When a failed call is made again, and how long it waits before."""

import random
from dataclasses import dataclass

MOST = 2
"""Retries of one call on one model; a connection may allow fewer."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
"""Seconds, the first doubled with each retry; each pause is drawn between 0 and that."""
LONGEST_WAIT = 20.0
"""Seconds that a provider may ask us to wait; a caller who has to wait longer is better told so."""
SHARE = 0.2
"""Retries per call, in the long run."""
RESERVE = 2.0
"""Retries that are there to begin with, and the most that are ever saved up."""


@dataclass(slots=True)
class Budget:
    """Keeps retries a small part of the calls: an upstream in trouble must not be asked thrice by everybody."""

    left: float = RESERVE

    def earn(self) -> None:
        """A call came in."""
        if self.left < RESERVE:
            self.left = min(self.left + SHARE, RESERVE)

    def spend(self) -> bool:
        """Whether one more retry may be made."""
        if self.left < 1 - 1e-9:  # five fifths add up to a little less than one
            return False
        self.left -= 1
        return True


def pause(number: int, asked: float | None, left: float) -> float | None:
    """Seconds to wait before the `number`th retry (from 1), when `left` remain; None: it is not worth it.

    `asked`: what the provider wants us to wait. Nobody comes back earlier than that.
    """
    drawn = random.uniform(0, min(FIRST_PAUSE * 2 ** (number - 1), LONGEST_PAUSE))  # noqa: S311 - no secret
    wait = drawn if asked is None else asked + drawn
    return wait if wait < left and (asked or 0) <= LONGEST_WAIT else None
