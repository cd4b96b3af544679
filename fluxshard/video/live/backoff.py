"""How long to wait before something that fails is tried again."""

from __future__ import annotations

import random


class Backoff:
    """Delays that double up to a largest one; up to half of each is left out at random, so that many do not meet.

    Args:
      first_s, most_s: the first and the largest delay, in seconds.
      chance: gives the random parts.
    """

    def __init__(self, first_s: float, most_s: float, chance: random.Random | None = None) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._chance = random.Random() if chance is None else chance
        self._next_s = first_s

    def delay_s(self) -> float:
        """The next delay."""
        whole = min(self._next_s, self._most_s)
        self._next_s = min(2 * self._next_s, self._most_s)
        return whole * self._chance.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It has worked: the next delay is the first again."""
        self._next_s = self._first_s
