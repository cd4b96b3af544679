"""How patient a supervisor is, and how it evens out load."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from fluxshard.cloud.cluster.placement.scaling import ScaleOptions
from fluxshard.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Options of a supervisor. All times are in seconds.

    Attributes:
      scale: how many workers there are.
      beat_s: pause between two reports of a worker.
      lease_s: without a report after which a worker serves nothing, and its streams are placed elsewhere.
      ask_s: within which a worker has to follow an order; no more streams go to one that does not, until it reports.
      place_s: within which an edge is told where its stream goes.
      open_s: within which an edge has to open its stream there.
      kill_s: within which a worker that is frozen may wake up; then it is killed, and replaced.
      stuck_s: of one frame after which a worker is killed.
      start_s: within which a new worker has to take streams; it may have to compile.
      drain_s: within which streams have to leave a worker that stops.
      measure_s: over which streams' work is averaged before it counts.
      even_s: pause between two attempts to even out the load.
      most_moves: streams that move in one attempt, for every eight workers; each costs a keyframe.
      pin_s: for which a stream that has moved stays.
      tolerance: share of the mean load by which workers may differ.

    Raises:
      OptionError: a value that is not allowed.
    """

    scale: ScaleOptions = field(default_factory=ScaleOptions)
    beat_s: float = 0.2
    lease_s: float = 2.0
    ask_s: float = 0.4
    place_s: float = 1.2
    open_s: float = 5.0
    kill_s: float = 10.0
    stuck_s: float = 60.0
    start_s: float = 600.0
    drain_s: float = 10.0
    measure_s: float = 2.0
    even_s: float = 2.0
    most_moves: int = 2
    pin_s: float = 60.0
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "scale" and not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{one.name} (={value}) must be a finite number of at least 0")
        if not 3 * self.beat_s <= self.lease_s:
            raise OptionError(f"lease_s (={self.lease_s:g}) must be at least three times beat_s (={self.beat_s:g})")

    def moves_among(self, workers: int) -> int:
        """Streams that may move in one attempt, among so many workers."""
        return round(self.most_moves * max(1.0, workers / 8))
