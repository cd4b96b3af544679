"""What a replay is given: a link, a video, two endpoints, and the rules that they keep to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.content.content import Content, Work
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.runtime.offload.latency_profile import LatencyProfile

Curve = Callable[[Work], float]  # milliseconds of a frame with so much work
Joules = Callable[[float, float], float]  # of a frame, from its latency and the time that the edge computes, in ms


@dataclass(frozen=True, slots=True)
class LinearCurve:
    """Latency that grows with the share of work.

    Attributes:
      base_ms: without work.
      slope_ms: for all work, beyond that.
    """

    base_ms: float
    slope_ms: float

    def __call__(self, work: Work) -> float:
        """Milliseconds."""
        return self.base_ms + self.slope_ms * work[0]


# (frame that was computed last anywhere, frame): whether the last result answers the frame
Repeats = Callable[[int, int], bool]

# of the paper: YOLO on a Jetson Xavier NX, and on its server. Source: the fits of Fig. 5 of the FluxShard paper
XAVIER_NX_POSE = LinearCurve(116.8, 330.0)
XAVIER_NX_SEG = LinearCurve(347.8, 189.7)
SERVER = LinearCurve(3.0, 24.6)
# dense, Table I's 35.7 ms; the same base as for poses is assumed
SERVER_SEG = LinearCurve(3.0, 32.7)


def profiled_curve(profile: LatencyProfile) -> Curve:
    """The curve of a measured endpoint. Content has to have been recorded under the policy of the profile."""
    return profile.model.predict_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is the same for all strategies.

    Times go by in ticks: the moment at which a frame is answered, and the next one begins, is rounded to the nearest.
    So there are finitely many moments, and `optimum` can try them all.

    Attributes:
      link: rate of the uplink.
      content: of the video.
      edge_ms, cloud_ms: latency of an endpoint, from a frame's work.
      frames: captured frames that are replayed; the content starts over where it has fewer.
      pre_ms: before a frame is placed.
      one_way_ms: propagation; the answer takes as long, and no time beside it.
      period_ms: between captured frames.
      ticks: per period.
      repeats: which frames are answered by the last result, without running; none unless given.
      repeat_ms: what such an answer takes beyond `pre_ms`.
      offset_ms: when the first frame is captured: cameras that share a link do not run in step.
      joules: energy that the edge takes for a frame, for a dispatch that minimizes it; None leaves that to latency.

    Raises:
      EvaluationError: a value that is not allowed.
    """

    link: LinkTrace
    content: Content
    edge_ms: Curve
    cloud_ms: Curve
    frames: int
    pre_ms: float = 8.0
    one_way_ms: float = 20.0
    period_ms: float = 1000 / 30
    ticks: int = 16
    repeats: Repeats | None = None
    repeat_ms: float = 0.0
    offset_ms: float = 0.0
    joules: Joules | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or self.ticks < 1 or not (math.isfinite(self.period_ms) and self.period_ms > 0):
            raise EvaluationError(
                f"frames (={self.frames}), ticks (={self.ticks}) and period_ms (={self.period_ms}) must be above 0"
            )
        for name in ("pre_ms", "one_way_ms", "repeat_ms", "offset_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise EvaluationError(f"{name} (={value}) must be a finite number of at least 0")

    @property
    def tick_ms(self) -> float:
        """Length of a tick."""
        return self.period_ms / self.ticks

    def next_start(self, start: int, frame: int, latency_ms: float) -> tuple[int, int]:
        """When the next frame begins, in ticks, and which: the newest captured one, or the next where there is none.

        Args:
          start: of a frame, in ticks.
          frame: its number.
          latency_ms: until its answer.
        """
        done = start + max(1, round(latency_ms / self.tick_ms))
        newest = max(frame + 1, done // self.ticks)
        return max(done, newest * self.ticks), newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How dispatch and the link behave, for all strategies that ask.

    Attributes:
      dispatch: options of `decide`; the strategy sets the policy.
      lost_uploads: what becomes of an upload whose frame the edge has answered. "go on", as at the live edge: it
        refreshes the server's cache, and nothing else is sent until its outcome is known. "cut": what is left is not
        sent.
      hedge_share: of frames that may run twice.
      waits_for_edge: as at the live edge under propagated reuse, a frame is not placed before the edge has ended its
        last run.
    """

    dispatch: DispatchOptions = field(default_factory=DispatchOptions)
    lost_uploads: Literal["go on", "cut"] = "go on"
    hedge_share: float = 0.05
    waits_for_edge: bool = False
