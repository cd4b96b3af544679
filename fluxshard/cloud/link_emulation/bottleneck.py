"""When bytes have gone through a link whose rate changes every second."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

BYTES_PER_MS = 125.0  # per Mbit/s


def arrival_ms(rate: Callable[[float], float], start_ms: float, n_bytes: float) -> float:
    """When the last byte has gone through, of bytes that begin at a time and have the link to themselves.

    Args:
      rate: bytes per millisecond at a time in milliseconds, above 0; the same within each second.
      start_ms: of the first byte.
      n_bytes: that go through.
    """
    now, left = start_ms, float(n_bytes)
    while left > 0:
        at, end = rate(now), (math.floor(now / 1000) + 1) * 1000.0
        if left <= at * (end - now):
            return now + left / at
        left -= at * (end - now)
        now = end
    return now


def sent_bytes(rate: Callable[[float], float], start_ms: float, until_ms: float) -> float:
    """How many bytes go through between two times; `rate` as for `arrival_ms`."""
    now, total = start_ms, 0.0
    while now < until_ms:
        end = min(until_ms, (math.floor(now / 1000) + 1) * 1000.0)
        total += rate(now) * (end - now)
        now = end
    return total


class Bottleneck:
    """A way on which one piece goes after the other.

    Args:
      mbps: rate of each second in megabits per second, above 0, from the start again at its end.
    """

    def __init__(self, mbps: Sequence[float]) -> None:
        self._mbps = tuple(mbps)
        self._free_ms = 0.0

    def send(self, at_s: float, n_bytes: int) -> float:
        """Second at which the last byte is through, of a piece that comes at a time, behind all that came before."""
        self._free_ms = arrival_ms(self._rate, max(self._free_ms, 1e3 * at_s), n_bytes)
        return self._free_ms / 1e3

    def queued(self, at_s: float) -> float:
        """Bytes that are not through at a time."""
        return sent_bytes(self._rate, 1e3 * at_s, self._free_ms)

    def _rate(self, at_ms: float) -> float:
        return self._mbps[int(at_ms // 1000) % len(self._mbps)] * BYTES_PER_MS
