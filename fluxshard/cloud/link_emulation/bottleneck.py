"""When bytes have gone through a link whose rate changes every second."""

from __future__ import annotations

import math
from collections.abc import Sequence


class Bottleneck:
    """A way on which one piece goes after the other.

    Args:
      mbps: rate of each second in megabits per second, above 0, from the start again at its end.
    """

    def __init__(self, mbps: Sequence[float]) -> None:
        self._bytes_per_s = [125e3 * rate for rate in mbps]
        self._free = 0.0

    def send(self, at_s: float, n_bytes: int) -> float:
        """Second at which the last byte is through, of a piece that comes at a time, behind all that came before."""
        now, left = max(self._free, at_s), float(n_bytes)
        while True:
            rate, end = self._rate(now), math.floor(now) + 1.0
            if left <= (end - now) * rate:
                break
            left -= (end - now) * rate
            now = end
        self._free = now + left / rate
        return self._free

    def queued(self, at_s: float) -> float:
        """Bytes that are not through at a time."""
        now, total = at_s, 0.0
        while now < self._free:
            end = min(self._free, math.floor(now) + 1.0)
            total += (end - now) * self._rate(now)
            now = end
        return total

    def _rate(self, at_s: float) -> float:
        return self._bytes_per_s[math.floor(at_s) % len(self._bytes_per_s)]
