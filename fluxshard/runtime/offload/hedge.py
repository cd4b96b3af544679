"""Hedging: where an upload is late, the edge starts beside it, and the first answer counts.

Source: tied requests, Dean and Barroso, The Tail at Scale, 2013; progress is what the receiver has acknowledged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# the expected rate counts like so much of the upload, all of it acknowledged at that rate
_PRIOR_MS, _PRIOR_STEPS = 30.0, 2
# A link that is silent for longer than its pace explains is taken to stay so for three times as long. The edge then
# starts after about a third of its own time. With 1, a frame in an outage takes twice the edge's time, 1.07 s in the
# worst case of `benchmarks.replay`'s traces; more than 3 gains nothing in the mean and hedges more frames that only
# faltered.
_SILENCE = 3.0
_JITTER_MS = 10.0  # of the network and of schedulers: silence that says nothing
_LEAST_RESCUE_MS = 250.0


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
      step_bytes: after so many the receiver acknowledges what it has.
    """

    total_bytes: int
    acked_bytes: int
    elapsed_ms: float
    silent_ms: float
    server_ms: float
    waiting_ms: float = 0.0
    step_bytes: int = 16 << 10


def remaining_ms(progress: Progress, bytes_per_ms: float | None) -> float:
    """Expected time until the cloud's answer; infinity where no rate is known and nothing has arrived.

    Two views, of which the later one counts. The pace: time per byte of this upload so far, to which the expected rate
    is added as a little more of the same. It counts for `_PRIOR_MS` and for `_PRIOR_STEPS` acknowledgements at most: a
    fast link that has become slow is no longer fast after two steps, however large the upload. The silence: a receiver
    that should have acknowledged the next step by now has lost its link, and what it has lost will be gone for a
    multiple of the time that it is overdue. A stall is not over because most bytes have arrived.

    Args:
      progress: of the upload.
      bytes_per_ms: rate that was expected; None where it is not known.
    """
    left = max(0, progress.total_bytes - progress.acked_bytes)
    if left == 0:
        return abs(progress.server_ms - progress.waiting_ms)  # a server that is late is late by as much again
    prior_bytes = prior_ms = 0.0
    if bytes_per_ms:
        prior_bytes = min(progress.total_bytes, _PRIOR_STEPS * progress.step_bytes, _PRIOR_MS * bytes_per_ms)
        prior_ms = prior_bytes / bytes_per_ms
    arrived, taken_ms = progress.acked_bytes + prior_bytes, max(0.0, progress.elapsed_ms) + prior_ms
    if arrived <= 0:
        return math.inf
    pace = max(0.0, taken_ms - progress.silent_ms) / arrived  # until it was last heard of
    overdue_ms = progress.silent_ms - pace * min(left, progress.step_bytes) - _JITTER_MS
    return progress.server_ms + max(left * taken_ms / arrived, _SILENCE * overdue_ms)


def rescue_ms(edge_ms: float, cloud_ms: float) -> float:
    """Time after which the edge starts beside a late upload whatever the budget: an upper bound of what is lost.

    A frame that has waited as long as the edge takes is answered after at most twice that time; where the cloud was
    expected to take longer anyway, after it has taken twice as long as expected.

    Args:
      edge_ms: expected time of the edge.
      cloud_ms: time in which the cloud was expected to answer.
    """
    return max(_LEAST_RESCUE_MS, edge_ms, 2 * cloud_ms)


def should_hedge(
    progress: Progress,
    bytes_per_ms: float | None,
    edge_ms: float,
    margin_ms: float,
    budget: HedgeBudget,
    *,
    rescue_after_ms: float = math.inf,
) -> bool:
    """Whether the edge should start now: the cloud is expected later than the edge would be done.

    Args:
      progress: of the upload.
      bytes_per_ms: rate that was expected; None where it is not known.
      edge_ms: expected time of the edge.
      margin_ms: by which the edge must be faster.
      budget: of frames that run twice.
      rescue_after_ms: time after which the budget does not count, as `rescue_ms` gives it.
    """
    late = remaining_ms(progress, bytes_per_ms) > edge_ms + margin_ms
    return late and (budget.allows or progress.elapsed_ms > rescue_after_ms)
