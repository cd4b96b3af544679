"""How long an endpoint has computed."""

from __future__ import annotations

import threading


class BusyTime:
    """Sums up what computations took; threads may add to it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total_ms = 0.0

    @property
    def total_ms(self) -> float:
        """Of all that are over, in milliseconds."""
        return self._total_ms

    def add(self, ms: float) -> None:
        """A computation is over."""
        with self._lock:
            self._total_ms += ms
