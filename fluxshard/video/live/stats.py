"""What became of a camera or stream so far."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Literal

State = Literal["open", "connecting", "paused", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStats:
    """Counts of a live source.

    Attributes:
      state: "open", "connecting" while it is tried to open it again, "paused" or "ended".
      frames: that were taken.
      dropped: overtaken by newer ones.
      damaged: left out, since they or parts of them could not be decoded.
      connections: times that it was opened.
      failures: times that it could not be opened.
      gaps: times that it broke off, timed out or ended, and came back.
      gap_s: seconds without frames in these gaps, in all.
      longest_gap_s: seconds of the longest.
      last_error: why it broke off or could not be opened last; None where it never did.
    """

    state: State = "open"
    frames: int = 0
    dropped: int = 0
    damaged: int = 0
    connections: int = 0
    failures: int = 0
    gaps: int = 0
    gap_s: float = 0.0
    longest_gap_s: float = 0.0
    last_error: str | None = None


class LiveCounts:
    """Counts that several threads write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stats = LiveStats()

    @property
    def now(self) -> LiveStats:
        """What has been counted."""
        return self._stats

    def add(self, **more: float) -> None:
        """Adds to counts."""
        with self._lock:
            self._stats = replace(
                self._stats, **{name: getattr(self._stats, name) + value for name, value in more.items()}
            )

    def gap(self, gap_s: float) -> None:
        """Counts a gap."""
        with self._lock:
            now = self._stats
            self._stats = replace(
                now, gaps=now.gaps + 1, gap_s=now.gap_s + gap_s, longest_gap_s=max(now.longest_gap_s, gap_s)
            )

    def state(self, state: State, error: str | None = None) -> None:
        """Says what state the source is in, and why if something is wrong."""
        with self._lock:
            self._stats = replace(self._stats, state=state, last_error=error or self._stats.last_error)
