"""The time for which a worker may serve, as both sides count it: a worker that was frozen knows that it is too late.

A worker's reports carry the time at which they were sent, on the worker's clock; the next beat of its supervisor brings
that time back. The worker then holds its lease until that time plus the lease's length. The supervisor counts from when
the report came, which is later, so the worker's lease ends first, whatever was delayed or frozen in between. Only
differences on one clock are taken; the two may be hours apart.
"""

from __future__ import annotations

import math

DRIFT = 0.01  # by which the supervisor's clock may run faster than the worker's
NOTICED_S = 0.1  # within which a worker notices that its lease is over, and ends its streams


class HeldLease:
    """What a worker holds. It starts without a lease."""

    def __init__(self) -> None:
        self._until = -math.inf

    def heard(self, sent_s: float, length_s: float) -> None:
        """The supervisor has had a report, and gives a lease.

        Args:
          sent_s: when the report was sent, on this worker's clock.
          length_s: of the lease.
        """
        self._until = max(self._until, sent_s + length_s)

    def holds(self, now: float) -> bool:
        """Whether streams may be served."""
        return now < self._until


class GivenLease:
    """What the supervisor has given.

    Args:
      length_s: of a lease.
      now: the worker may hold one from now on.
    """

    def __init__(self, length_s: float, now: float) -> None:
        self._length_s = length_s * (1 + DRIFT) + NOTICED_S
        self._until = now + self._length_s

    def reported(self, now: float) -> None:
        """A report came."""
        self._until = max(self._until, now + self._length_s)

    def left_s(self, now: float) -> float:
        """For which the worker may still serve streams; 0 or less where it surely serves none."""
        return self._until - now
