"""Hedging: where an upload is late, the edge starts beside it, and the first answer counts.

Source: tied requests, Dean and Barroso, The Tail at Scale, 2013; progress is what the receiver has acknowledged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_HALF_BYTES = 32 << 10
_SILENCE = 4.0
_JITTER_MS = 10.0  # of the network and of schedulers: silence that says nothing
_LEAST_RESCUE_MS = 250.0
_PATIENCE = 1.5  # with a cloud that was chosen whatever it takes: acknowledgements come in steps


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
class Pace:
    """How fast an upload goes: bytes, and the time that they took, the latest ones counting most. Immutable.

    What was acknowledged counts half after `_HALF_BYTES` more. A mean over the whole upload would not see that a fast
    link has become slow until most of its bytes had come slowly.

    Attributes:
      n_bytes: that count.
      ms: that they took.
    """

    n_bytes: float = 0.0
    ms: float = 0.0

    @classmethod
    def expected(cls, total_bytes: float, bytes_per_ms: float | None) -> Pace:
        """Before anything is acknowledged: as if a little had come at the expected rate.

        Args:
          total_bytes: of the upload.
          bytes_per_ms: the rate; None where it is not known, so that nothing is expected.
        """
        if not bytes_per_ms:
            return cls()
        n_bytes = min(float(total_bytes), float(_HALF_BYTES))
        return cls(n_bytes=n_bytes, ms=n_bytes / bytes_per_ms)

    def after(self, n_bytes: float, ms: float) -> Pace:
        """With more that was acknowledged.

        Args:
          n_bytes: since the last acknowledgement.
          ms: between both.
        """
        keep = 0.5 ** (n_bytes / _HALF_BYTES)
        return Pace(n_bytes=keep * self.n_bytes + n_bytes, ms=keep * self.ms + max(0.0, ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An upload under way.

    Attributes:
      left_bytes: of the frame's payload, and of what waits before it, that the receiver does not have.
      pace: until the last acknowledgement.
      elapsed_ms: since the upload began.
      silent_ms: since the last acknowledgement, or since the first could have come.
      server_ms: queue, inference and the way back, as expected.
      waiting_ms: since all of it was acknowledged; 0 before.
      step_bytes: after so many the receiver acknowledges what it has.
    """

    left_bytes: int
    pace: Pace
    elapsed_ms: float
    silent_ms: float
    server_ms: float
    waiting_ms: float = 0.0
    step_bytes: int = 16 << 10


def remaining_ms(progress: Progress) -> float:
    """Expected time until the cloud's answer; infinity where no rate is known and nothing has arrived.

    Two views, of which the later one counts. The pace, with the silence as time that brought nothing. And the silence
    itself: a receiver that should have acknowledged the next step by now has lost its link, and what is lost stays so
    for a multiple of the time that it is overdue; a stall is not over because most bytes have arrived. A link that
    comes and goes by the second is silent for as long again at least as often as not, so with a multiple of 1 the edge
    starts only after its own time has passed once; with 4, after a quarter of it.
    """
    if progress.left_bytes <= 0:
        return abs(progress.server_ms - progress.waiting_ms)  # a server that is late is late by as much again
    pace = progress.pace
    if pace.n_bytes <= 0:
        return math.inf
    by_pace = progress.left_bytes * (pace.ms + progress.silent_ms) / pace.n_bytes
    step_ms = min(progress.left_bytes, progress.step_bytes) * pace.ms / pace.n_bytes
    by_silence = _SILENCE * (progress.silent_ms - step_ms - _JITTER_MS)
    return progress.server_ms + max(by_pace, by_silence)


def rescue_ms(edge_ms: float, cloud_ms: float) -> float:
    """Time after which the edge starts beside a late upload whatever the budget: a bound of what a frame can lose.

    A frame that has waited for three quarters of the edge's time is answered after less than twice that time; where the
    cloud was expected to take longer anyway, it is given what was expected.

    Args:
      edge_ms: expected time of the edge.
      cloud_ms: time in which the cloud was expected to answer.
    """
    return max(_LEAST_RESCUE_MS, 0.75 * edge_ms, cloud_ms)


def should_hedge(
    progress: Progress,
    edge_ms: float,
    margin_ms: float,
    budget: HedgeBudget,
    rescue_after_ms: float = math.inf,
    accepted_ms: float = 0.0,
) -> bool:
    """Whether the edge should start now: the cloud is expected later than the edge would be done.

    Args:
      progress: of the upload.
      edge_ms: expected time of the edge.
      margin_ms: by which the edge must be faster.
      budget: of frames that run twice.
      rescue_after_ms: of the upload's time, after which the budget does not count; see `rescue_ms`.
      accepted_ms: in which the cloud was expected to answer, and chosen even if the edge is faster: it is late after
        half as long again. See `Decision.accepted_ms`.
    """
    late = remaining_ms(progress) > max(edge_ms, _PATIENCE * accepted_ms - progress.elapsed_ms) + margin_ms
    return late and (budget.allows or progress.elapsed_ms > rescue_after_ms)
