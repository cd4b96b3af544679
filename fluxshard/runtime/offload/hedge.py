"""Hedging: where an upload is late, the edge starts beside it, and the first answer counts.

Source: tied requests, Dean and Barroso, The Tail at Scale, 2013; progress is what the receiver has acknowledged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_PRIOR_MS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeBudget:
    """How many frames may run twice: a bucket of tokens that fills with every frame. Immutable.

    Attributes:
      share: of frames that may be hedged in the long run, 0..1.
      burst: most tokens, so many frames in a row.
      tokens: that are left.
    """

    share: float = 0.05
    burst: float = 4.0
    tokens: float = 4.0

    @property
    def allows(self) -> bool:
        """There is a token."""
        return self.tokens >= 1.0

    def after_frame(self) -> HedgeBudget:
        """With one more frame."""
        return replace(self, tokens=min(self.burst, self.tokens + self.share))

    def after_hedge(self) -> HedgeBudget:
        """With one token less."""
        return replace(self, tokens=max(0.0, self.tokens - 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An upload under way.

    Attributes:
      total_bytes: of the frame's payload and of what waits before it.
      acked_bytes: that the receiver has.
      elapsed_ms: since the first acknowledgement could have come; negative before.
      silent_ms: since the last acknowledgement, or since the first could have come.
      server_ms: queue, inference and the way back, as expected.
      waiting_ms: since all of it was acknowledged; 0 before.
    """

    total_bytes: int
    acked_bytes: int
    elapsed_ms: float
    silent_ms: float
    server_ms: float
    waiting_ms: float = 0.0


def remaining_ms(progress: Progress, bytes_per_ms: float | None) -> float:
    """Expected time until the cloud's answer; infinity where no rate is known and nothing has arrived.

    The rate of this upload is what has arrived over the time it took. The expected rate counts as a little more of such
    evidence: `_PRIOR_MS` of it, and no more than the upload should have taken. Where the receiver is silent, what
    remains is expected to take as long as the silence so far: a stall is not over because most bytes have arrived.

    Args:
      progress: of the upload.
      bytes_per_ms: rate that was expected; None where it is not known.
    """
    left = max(0, progress.total_bytes - progress.acked_bytes)
    if left == 0:
        return abs(progress.server_ms - progress.waiting_ms)  # a server that is late is late by as much again
    prior = min(_PRIOR_MS, progress.total_bytes / bytes_per_ms) if bytes_per_ms else 0.0
    evidence_ms = max(0.0, progress.elapsed_ms) + prior
    arrived = progress.acked_bytes + prior * (bytes_per_ms or 0.0)
    return progress.server_ms + (max(left * evidence_ms / arrived, progress.silent_ms) if arrived > 0 else math.inf)


def should_hedge(
    progress: Progress, bytes_per_ms: float | None, edge_ms: float, margin_ms: float, budget: HedgeBudget
) -> bool:
    """Whether the edge should start now: the cloud is expected later than the edge would be done.

    Args:
      progress: of the upload.
      bytes_per_ms: rate that was expected; None where it is not known.
      edge_ms: expected time of the edge.
      margin_ms: by which the edge must be faster.
      budget: of frames that run twice.
    """
    return budget.allows and remaining_ms(progress, bytes_per_ms) > edge_ms + margin_ms
